//! Who is called at an address of the cluster.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use weft_flow::span::PeerService;

/// Of objects with addresses; a copy is cheap.
#[derive(Clone, Debug, Default)]
pub(super) struct Names(Arc<All>);

#[derive(Clone, Debug, Default)]
struct All {
    by_address: HashMap<IpAddr, Named>,
    /// By uid.
    addresses: HashMap<String, Vec<IpAddr>>,
}

#[derive(Clone, Debug)]
struct Named {
    uid: String,
    service: Arc<PeerService>,
}

// === impl Names ===

impl Names {
    pub(super) fn at(&self, address: IpAddr) -> Option<&Arc<PeerService>> {
        let named = self.0.by_address.get(&address)?;
        Some(&named.service)
    }

    /// True: something has changed.
    pub(super) fn put(&mut self, uid: &str, addresses: &[IpAddr], service: PeerService) -> bool {
        let same = |address| {
            let named = self.0.by_address.get(address);
            named.is_some_and(|it| it.uid == uid && *it.service == service)
        };
        let known = self.0.addresses.get(uid).map(Vec::as_slice);
        if known == Some(addresses) && addresses.iter().all(same) {
            return false;
        }
        self.remove(uid);
        let all = Arc::make_mut(&mut self.0);
        let service = Arc::new(service);
        for address in addresses {
            let named = Named {
                uid: uid.to_owned(),
                service: Arc::clone(&service),
            };
            all.by_address.insert(*address, named);
        }
        all.addresses.insert(uid.to_owned(), addresses.to_vec());
        true
    }

    /// Another one may have an address of it by now.
    pub(super) fn remove(&mut self, uid: &str) -> bool {
        if !self.0.addresses.contains_key(uid) {
            return false;
        }
        let all = Arc::make_mut(&mut self.0);
        for address in all.addresses.remove(uid).unwrap_or_default() {
            let named = all.by_address.get(&address);
            if named.is_some_and(|it| it.uid == uid) {
                all.by_address.remove(&address);
            }
        }
        true
    }

    /// Only these are left. True: something has changed.
    pub(super) fn keep(&mut self, uids: &HashSet<&str>) -> bool {
        let all = self.0.addresses.keys();
        let gone = all.filter(|uid| !uids.contains(uid.as_str())).cloned();
        let gone: Vec<String> = gone.collect();
        for uid in &gone {
            self.remove(uid);
        }
        !gone.is_empty()
    }
}
