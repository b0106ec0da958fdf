//! Pods of this node, their namespaces and the policies for them, and the names of Services, as the API server tells of them.
//!
//! One list and one watch for each kind. What is known stays when the server is away.

mod cluster;
mod metadata;
mod names;
mod objects;
mod status;
#[cfg(test)]
mod tests;
mod watch;

use std::{io, sync::Arc, thread, time::Duration};

use kube::{
    Client, Config as ClientConfig,
    config::{KubeConfigOptions, Kubeconfig},
};
use tokio::{
    runtime,
    sync::{oneshot, watch::channel as watch_channel},
};

use crate::{config::Kubernetes, telemetry::Registry};

use self::watch::{Figures, Watches};
pub(crate) use self::{
    cluster::{Cluster, PodRule, Terms},
    metadata::describe,
    objects::{Pod, TracePolicy},
    status::{SeenPod, SeenPods},
};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}")]
    Access(String),
    #[error("a thread for the watches: {0}")]
    Thread(#[from] io::Error),
}

/// The watches' thread; it ends when this is dropped.
pub(crate) struct Watching {
    _stop: oneshot::Sender<()>,
}

/// The server closes a watch that is older, and a dead one is noticed.
const READ_TIMEOUT: Duration = Duration::from_secs(295);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Begins to watch. `publish` is handed each new state of the cluster.
///
/// # Errors
/// The way to the API server cannot be found. That it is away is none.
pub(crate) fn start(
    settings: &Kubernetes,
    registry: &Registry,
    seen: SeenPods,
    publish: impl Fn(Arc<Cluster>) + Send + 'static,
) -> Result<Watching, Error> {
    // The configuration has been checked.
    let node = settings.node.clone().unwrap_or_default();
    let cluster = Cluster::new(settings.clone());
    let figures = Figures::register(registry);
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let access = runtime.block_on(access(settings))?;
    let (stop, stopped) = oneshot::channel::<()>();
    thread::Builder::new()
        .name("weft-kubernetes".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                let client = match Client::try_from(access) {
                    Ok(client) => client,
                    Err(error) => return log::error!("the API server cannot be asked: {error}"),
                };
                let (tell, clusters) = watch_channel(Arc::new(cluster.clone()));
                let publish = |cluster: Arc<Cluster>| {
                    publish(Arc::clone(&cluster));
                    tell.send_replace(cluster);
                };
                let watches = Watches::new(cluster, figures);
                tokio::select! {
                    () = watches.run(client.clone(), &node, publish) => {}
                    () = status::report(client, node.clone(), clusters, seen) => {}
                    _ = stopped => {}
                }
            });
        })?;
    Ok(Watching { _stop: stop })
}

async fn access(settings: &Kubernetes) -> Result<ClientConfig, Error> {
    let failed = |error: &dyn std::error::Error| Error::Access(error.to_string());
    let mut access = match &settings.kubeconfig {
        None => ClientConfig::incluster().map_err(|error| failed(&error))?,
        Some(path) => {
            let named = |error: &dyn std::error::Error| {
                Error::Access(format!("{}: {error}", path.display()))
            };
            let file = Kubeconfig::read_from(path).map_err(|error| named(&error))?;
            ClientConfig::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                .await
                .map_err(|error| named(&error))?
        }
    };
    access.connect_timeout = Some(CONNECT_TIMEOUT);
    access.read_timeout = Some(READ_TIMEOUT);
    Ok(access)
}
