use proptest::prelude::*;
use serde_json::json;

use super::{
    cluster::{Cluster, PodRule, Terms},
    objects::{Pod, PodObject, PolicyObject, Service, ServiceObject, TracePolicy, Wish},
    status::SeenPod,
};
use crate::config::{
    Action::{self, Exclude, Include},
    Kubernetes,
};

fn pod(uid: &str, namespace: &str, more: &serde_json::Value) -> Pod {
    let mut object = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"uid": uid, "namespace": namespace, "name": format!("{uid}-0"), "managedFields": []},
        "spec": {"nodeName": "n1", "containers": [{"name": "app", "image": "web:1"}], "volumes": []},
    });
    merge(&mut object, more);
    let object: PodObject = serde_json::from_value(object).unwrap();
    Pod::of(object, &["team".to_owned()]).unwrap()
}

fn merge(into: &mut serde_json::Value, more: &serde_json::Value) {
    match (into, more) {
        (serde_json::Value::Object(into), serde_json::Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key.clone()).or_insert(json!(null)), value);
            }
        }
        (into, more) => *into = more.clone(),
    }
}

fn policy(name: &str, spec: &serde_json::Value) -> TracePolicy {
    let object = json!({
        "apiVersion": "weft.dev/v1alpha1", "kind": "TracePolicy",
        "metadata": {"namespace": "shop", "name": name, "generation": 3},
        "spec": spec,
    });
    let object: PolicyObject = serde_json::from_value(object).unwrap();
    TracePolicy::of(object).unwrap()
}

#[test]
fn what_is_kept_of_a_pod() {
    let id = "a".repeat(64);
    let more = json!({
        "metadata": {
            "labels": {"app": "web"},
            "annotations": {"resource.opentelemetry.io/service.name": "cart", "team": "blue", "other": "x", "weft.dev/trace": "enabled"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "o", "controller": true}],
        },
        "spec": {"containers": [{"name": "app", "image": "web:1"}, {"name": "side", "image": "s"}]},
        "status": {
            "containerStatuses": [
                {"name": "app", "image": "docker.io/library/web:1", "containerID": format!("containerd://{id}"), "restartCount": 2, "ready": true},
                {"name": "side", "image": "s", "restartCount": 0, "state": {"waiting": {}}},
            ],
        },
    });
    let pod = pod("u", "shop", &more);
    assert_eq!(pod.trace, Some(Wish::Trace(Include)));
    assert_eq!(
        pod.annotations
            .keys()
            .map(String::as_str)
            .collect::<Vec<_>>(),
        ["resource.opentelemetry.io/service.name", "team"]
    );
    assert_eq!(
        pod.owner.as_ref().map(|owner| owner.name.as_str()),
        Some("web-1")
    );
    let container = pod.container(&id).unwrap();
    assert_eq!((container.name.as_str(), container.restarts), ("app", 2));
    assert_eq!(pod.container(&"b".repeat(64)), None);
}

#[test]
fn who_is_called_at_an_address() {
    let service = |uid: &str, name: &str, address: &str| {
        let object = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"uid": uid, "namespace": "shop", "name": name},
            "spec": {"clusterIPs": [address], "externalIPs": ["203.0.113.9"], "ports": []},
            "status": {"loadBalancer": {}},
        });
        let object: ServiceObject = serde_json::from_value(object).unwrap();
        Service::of(object).unwrap()
    };
    let with_address = |uid: &str, host: bool| {
        let more = json!({
            "metadata": {"annotations": {"resource.opentelemetry.io/service.name": "cart"}},
            "spec": {"hostNetwork": host}, "status": {"podIPs": [{"ip": "10.0.0.7"}, {"ip": "fd00::7"}]},
        });
        pod(uid, "shop", &more)
    };
    let mut cluster = Cluster::new(Kubernetes::default());
    let name = |cluster: &Cluster, address: &str| {
        let service = cluster.service_at(address.parse().unwrap());
        service.map(|it| format!("{}/{}", it.namespace, it.name))
    };
    let check = |cluster: &Cluster, expected: [(&str, Option<&str>); 4]| {
        for (address, expected) in expected {
            assert_eq!(name(cluster, address).as_deref(), expected, "{address}");
        }
    };
    assert!(cluster.set_services(vec![
        service("s", "web", "10.92.0.1"),
        service("n", "none", "None")
    ]));
    assert!(!cluster.put_service(service("s", "web", "10.92.0.1")));
    cluster.set_pods(vec![with_address("u", false), with_address("h", true)]);
    check(
        &cluster,
        [
            ("10.92.0.1", Some("shop/web")),
            ("::ffff:10.92.0.1", Some("shop/web")),
            ("10.0.0.7", Some("shop/cart")),
            ("fd00::7", Some("shop/cart")),
        ],
    );
    // The address goes to another pod before the first is gone.
    cluster.put_pod(with_address("v", false));
    cluster.remove_pod("u");
    // The Service changes its address.
    assert!(cluster.set_services(vec![service("s", "web", "10.92.0.2")]));
    check(
        &cluster,
        [
            ("10.92.0.1", None),
            ("10.92.0.2", Some("shop/web")),
            ("10.0.0.7", Some("shop/cart")),
            ("203.0.113.9", None),
        ],
    );
    cluster.set_pods(Vec::new());
    assert!(cluster.remove_service("s"));
    check(
        &cluster,
        [
            ("10.92.0.2", None),
            ("10.0.0.7", None),
            ("203.0.113.9", None),
            ("fd00::7", None),
        ],
    );
}

#[test]
fn a_pods_only_container_is_known_before_its_id() {
    let one = pod("u", "shop", &json!({}));
    assert_eq!(one.container("x").map(|it| it.name.as_str()), Some("app"));
}

#[test]
fn the_annotation_wins_over_the_namespace_over_the_configuration() {
    let settings = |default| Kubernetes {
        default,
        ..Kubernetes::default()
    };
    let trace = |value: &str| json!({"metadata": {"annotations": {"weft.dev/trace": value}}});
    let none = json!({});
    for (annotation, label, default, selected) in [
        (&none, None, Exclude, Exclude),
        (&none, None, Include, Include),
        (&none, Some("enabled"), Exclude, Include),
        (&none, Some("disabled"), Include, Exclude),
        (&none, Some("yes"), Exclude, Exclude),
        (&trace("enabled"), None, Exclude, Include),
        (&trace("enabled"), Some("disabled"), Exclude, Include),
        (&trace("disabled"), Some("enabled"), Include, Exclude),
        (&trace("maybe"), Some("enabled"), Exclude, Include),
    ] {
        let mut cluster = Cluster::new(settings(default));
        cluster.set_pods(vec![pod("u", "shop", annotation)]);
        let labels = label.map(|label| [("weft.dev/trace".to_owned(), label.to_owned())].into());
        cluster.set_namespaces(vec![("shop".to_owned(), Wish::of(labels.as_ref()))]);
        let (action, _) = cluster.judge("u");
        assert_eq!(action, selected, "{annotation} {label:?} {default:?}");
        assert_eq!(cluster.traces_any(), selected == Include);
        assert_eq!(cluster.judge("other"), (Exclude, PodRule::Unknown));
    }
}

#[test]
fn policies_that_name_pods_go_first() {
    let mut cluster = Cluster::new(Kubernetes::default());
    let web = pod(
        "u",
        "shop",
        &json!({"metadata": {"labels": {"app": "web"}}}),
    );
    assert_eq!(cluster.terms(&web), Terms::default());
    cluster.put_policy(policy(
        "all",
        &json!({"sampling": {"ratio": 0.5}, "limits": {"spansPerSecond": 10}}),
    ));
    let terms = cluster.terms(&web);
    assert_eq!(
        (
            terms.ratio,
            terms.unwritten,
            terms.limit.map(|(_, limit)| limit)
        ),
        (Some(0.5), false, Some(10))
    );
    cluster.put_policy(policy(
        "web",
        &json!({"selector": {"matchLabels": {"app": "web"}}, "inject": "never"}),
    ));
    let terms = cluster.terms(&web);
    assert_eq!((terms.ratio, terms.unwritten), (None, true));
    cluster.put_policy(policy("web", &json!({"selector": {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}})));
    assert_eq!(cluster.terms(&web).ratio, Some(0.5));
    let elsewhere = pod("v", "other", &json!({}));
    assert_eq!(cluster.terms(&elsewhere), Terms::default());
    assert!(cluster.remove_policy("shop", "all"));
    assert_eq!(cluster.terms(&web), Terms::default());
}

#[test]
fn a_status_tells_of_this_nodes_pods() {
    let mut cluster = Cluster::new(Kubernetes::default());
    let all = policy("all", &json!({}));
    let look = |cluster: &Cluster, seen: &[(&str, &str)]| {
        let seen = seen.iter().map(|(uid, reason)| {
            let dark = [("c".to_owned(), (*reason).to_owned())];
            let dark = dark.into_iter().filter(|(_, reason)| !reason.is_empty());
            (
                (*uid).to_owned(),
                SeenPod {
                    dark: dark.collect(),
                },
            )
        });
        super::status::status(cluster, &all, "n1", &seen.collect())
    };
    cluster.put_policy(all.clone());
    assert_eq!(look(&cluster, &[]), json!([]));
    cluster.put_pod(pod(
        "u",
        "shop",
        &json!({"metadata": {"annotations": {"weft.dev/trace": "enabled"}}}),
    ));
    cluster.put_pod(pod("v", "shop", &json!({})));
    cluster.put_pod(pod("w", "other", &json!({})));
    let expected = |traced, dark| json!([{"name": "n1", "observedGeneration": 3, "pods": 2, "tracedPods": traced, "dark": dark}]);
    assert_eq!(look(&cluster, &[]), expected(0, json!([])));
    assert_eq!(
        look(&cluster, &[("u", ""), ("w", "")]),
        expected(1, json!([]))
    );
    let dark = json!([{"pod": "u-0", "container": "app", "reason": "TLS"}]);
    assert_eq!(look(&cluster, &[("u", "TLS")]), expected(1, dark));
}

#[derive(Clone, Debug)]
enum Told {
    Pod(u8, Option<Action>),
    Gone(u8),
    Namespace(u8, Option<Action>),
    Lists,
}

fn told() -> impl Strategy<Value = Told> {
    let wish = || proptest::option::of(prop_oneof![Just(Include), Just(Exclude)]);
    prop_oneof![
        (0..6_u8, wish()).prop_map(|(pod, wish)| Told::Pod(pod, wish)),
        (0..6_u8).prop_map(Told::Gone),
        (0..2_u8, wish()).prop_map(|(namespace, wish)| Told::Namespace(namespace, wish)),
        Just(Told::Lists),
    ]
}

proptest! {
    /// Whatever came one by one, and however often the lists came whole, the last word on each pod and
    /// namespace counts.
    #[test]
    fn the_last_word_counts(told in proptest::collection::vec(told(), 0..60)) {
        let wish = |wish: Option<Action>| wish.map(Wish::Trace);
        let made = |number: u8, trace| Pod {
            trace: wish(trace),
            ..pod(&number.to_string(), &format!("ns{}", number % 2), &json!({}))
        };
        let mut cluster = Cluster::new(Kubernetes::default());
        let mut pods = std::collections::BTreeMap::new();
        let mut namespaces = [None; 2];
        for told in told {
            match told {
                Told::Pod(number, trace) => {
                    pods.insert(number, trace);
                    let changed = cluster.put_pod(made(number, trace));
                    prop_assert!(!cluster.put_pod(made(number, trace)), "{changed}");
                }
                Told::Gone(number) => {
                    prop_assert_eq!(cluster.remove_pod(&number.to_string()), pods.remove(&number).is_some());
                }
                Told::Namespace(number, trace) => {
                    namespaces[usize::from(number)] = trace;
                    cluster.put_namespace(&format!("ns{number}"), wish(trace));
                }
                Told::Lists => {
                    cluster.set_pods(pods.iter().map(|(number, trace)| made(*number, *trace)).collect());
                    let all = (0..2).map(|it| (format!("ns{it}"), wish(namespaces[it])));
                    cluster.set_namespaces(all.collect());
                }
            }
            for number in 0..6_u8 {
                let expected = match pods.get(&number) {
                    None => Exclude,
                    Some(trace) => trace.or(namespaces[usize::from(number % 2)]).unwrap_or(Exclude),
                };
                prop_assert_eq!(cluster.judge(&number.to_string()).0, expected);
            }
        }
    }
}

/// What the caches of one agent hold. Run: `cargo test -p weft --release -- --ignored --nocapture size_of`.
#[test]
#[ignore = "a measurement: prints memory and time"]
fn size_of_a_large_cluster() {
    use std::time::Instant;

    let resident = || {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4
    };
    let text = |number: usize| {
        let labels: serde_json::Value = (0..8)
            .map(|it| {
                (
                    format!("app.example/label-{it}"),
                    json!(format!("value-{it}-{number}")),
                )
            })
            .collect::<serde_json::Map<_, _>>()
            .into();
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "uid": format!("00000000-0000-4000-8000-{number:012}"), "namespace": format!("ns{}", number % 200),
                "name": format!("service-{}-7d4b9c6f5-{number:05}", number % 50), "labels": labels,
                "annotations": {"kubectl.kubernetes.io/last-applied": "x".repeat(600)},
                "managedFields": (0..4).map(|_| json!({"manager": "kubelet", "fieldsV1": {"f:metadata": {"f:labels": "y".repeat(400)}}})).collect::<Vec<_>>(),
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("service-{}-7d4b9c6f5", number % 50), "uid": "o", "controller": true}],
            },
            "spec": {"nodeName": "n1", "containers": [{"name": "app", "image": "registry.test/service:1.2.3", "env": [{"name": "A", "value": "z".repeat(500)}]}, {"name": "side", "image": "side:1"}]},
            "status": {"containerStatuses": [
                {"name": "app", "image": "i", "containerID": format!("containerd://{number:064x}"), "restartCount": 0},
                {"name": "side", "image": "i", "containerID": format!("containerd://{:064x}", number + 1_000_000), "restartCount": 0}]},
        }).to_string()
    };
    let before = resident();
    let mut cluster = Cluster::new(Kubernetes::default());
    let namespaces = (0..5000).map(|it| {
        (
            format!("ns{it}"),
            (it % 2 == 0).then_some(Wish::Trace(Include)),
        )
    });
    cluster.set_namespaces(namespaces.collect());
    // The field selector leaves 500 of 50,000 for this node.
    let texts: Vec<String> = (0..500).map(text).collect();
    let bytes: usize = texts.iter().map(String::len).sum();
    let begun = Instant::now();
    for text in &texts {
        let object: PodObject = serde_json::from_str(text).unwrap();
        cluster.put_pod(Pod::of(object, &[]).unwrap());
    }
    let read = begun.elapsed();
    drop(texts);
    println!(
        "500 pods of 50,000, 5,000 namespaces: {} KiB resident, {bytes} bytes of JSON read in {read:?}",
        resident() - before
    );
    let begun = Instant::now();
    let copies: Vec<Cluster> = (0..100).map(|_| cluster.clone()).collect();
    println!("a snapshot: {:?}", begun.elapsed() / 100);
    let begun = Instant::now();
    let traced = copies
        .iter()
        .flat_map(|it| it.pods().map(|pod| it.judge_pod(pod)))
        .filter(|(action, _)| *action == Include)
        .count();
    println!(
        "50,000 decisions, {traced} of them to trace: {:?}",
        begun.elapsed()
    );
}
