//! Who is called at an address of the cluster.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use weft_flow::span::PeerService;

/// By address: Services of the cluster, and the pods of this node.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
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
        let named = self.by_address.get(&address.to_canonical())?;
        Some(&named.service)
    }

    /// True: something has changed.
    pub(super) fn put(&mut self, uid: &str, addresses: &[IpAddr], service: PeerService) -> bool {
        let same = |address| {
            let named = self.by_address.get(address);
            named.is_some_and(|it| it.uid == uid && *it.service == service)
        };
        let known = self.addresses.get(uid).map_or(&[][..], Vec::as_slice);
        if known == addresses && addresses.iter().all(same) {
            return false;
        }
        self.remove(uid);
        if addresses.is_empty() {
            return true;
        }
        let service = Arc::new(service);
        for address in addresses {
            let named = Named {
                uid: uid.to_owned(),
                service: Arc::clone(&service),
            };
            self.by_address.insert(address.to_canonical(), named);
        }
        self.addresses.insert(uid.to_owned(), addresses.to_vec());
        true
    }

    /// Another one may have an address of it by now.
    pub(super) fn remove(&mut self, uid: &str) -> bool {
        let Some(addresses) = self.addresses.remove(uid) else {
            return false;
        };
        for address in addresses {
            let address = address.to_canonical();
            if self
                .by_address
                .get(&address)
                .is_some_and(|it| it.uid == uid)
            {
                self.by_address.remove(&address);
            }
        }
        true
    }
}
