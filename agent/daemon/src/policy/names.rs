//! Names of containers, from where their runtimes keep them.

use std::{
    collections::HashMap,
    fs,
    sync::{Arc, Mutex, PoisonError},
};

use serde::Deserialize;

use crate::discover::Container;

/// Names that were looked up, by id; `None`: nobody has one.
#[derive(Default)]
pub(super) struct ContainerNames(Mutex<HashMap<String, Option<Arc<str>>>>);

/// More are forgotten, and looked up again.
const CAPACITY: usize = 4096;
/// One file for each container.
const DOCKER: &str = "/var/lib/docker/containers";
/// One file for all.
const PODMAN: &str = "/var/lib/containers/storage/overlay-containers/containers.json";

#[derive(Deserialize)]
struct DockerContainer {
    /// With a `/` before it.
    #[serde(rename = "Name")]
    name: String,
}

#[derive(Deserialize)]
struct PodmanContainer {
    id: String,
    #[serde(default)]
    names: Vec<String>,
}

impl ContainerNames {
    pub(super) fn of(&self, container: &Container) -> Option<Arc<str>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = known.get(&container.id) {
            return name.clone();
        }
        if known.len() >= CAPACITY {
            known.clear();
        }
        let name: Option<Arc<str>> = look_up(&container.id).map(Into::into);
        known.insert(container.id.clone(), name.clone());
        name
    }
}

fn look_up(id: &str) -> Option<String> {
    let docker = fs::read(format!("{DOCKER}/{id}/config.v2.json"));
    if let Ok(text) = docker {
        return of_docker(&text);
    }
    of_podman(&fs::read(PODMAN).ok()?, id)
}

fn of_docker(text: &[u8]) -> Option<String> {
    let container: DockerContainer = serde_json::from_slice(text).ok()?;
    Some(container.name.trim_start_matches('/').to_owned())
}

fn of_podman(text: &[u8], id: &str) -> Option<String> {
    let containers: Vec<PodmanContainer> = serde_json::from_slice(text).ok()?;
    let container = containers.into_iter().find(|it| it.id == id)?;
    container.names.into_iter().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_runtimes() {
        let docker = br#"{"StreamConfig":{},"State":{"Running":true},"Name":"/shop-web","ID":"x"}"#;
        assert_eq!(of_docker(docker).as_deref(), Some("shop-web"));
        let podman = br#"[{"id":"aa","layer":"l"},{"id":"bb","names":["cart"],"image":"i"}]"#;
        assert_eq!(of_podman(podman, "bb").as_deref(), Some("cart"));
        assert_eq!(of_podman(podman, "aa"), None);
        assert_eq!(of_podman(b"{", "aa"), None);
    }
}
