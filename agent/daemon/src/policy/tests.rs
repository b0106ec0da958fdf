use globset::GlobMatcher;

use super::*;
use crate::{
    config::Selection,
    discover::{Place, ProcessFacts},
};

fn globs(list: &[&str]) -> Vec<GlobMatcher> {
    list.iter()
        .map(|glob| globset::Glob::new(glob).unwrap().compile_matcher())
        .collect()
}

fn facts(pid: u32, exe: &str) -> ProcessFacts {
    ProcessFacts {
        pid,
        began_as: pid,
        exe: exe.into(),
        ..ProcessFacts::default()
    }
}

#[track_caller]
fn check(selection: &Selection, pid: u32, exe: &str, selected: bool, rule: Rule) {
    let judged = Policy::new(selection.clone(), 1).judge(&facts(pid, exe), None);
    assert_eq!(judged, Decision { selected, rule }, "{exe}");
}

#[test]
fn lists() {
    let mut selection = Selection::default();
    check(&selection, 7, "/usr/sbin/nginx", true, Rule::All);
    check(&selection, 1, "/usr/bin/weft", false, Rule::Own);
    selection.exclude_exes = globs(&["sshd"]);
    let rule = Rule::ExcludedExe("sshd".to_owned());
    check(&selection, 7, "/usr/sbin/sshd", false, rule);
    selection.exes = globs(&["python3*", "/opt/*/bin/*"]);
    let rule = Rule::Exe("python3*".to_owned());
    check(&selection, 7, "/usr/bin/python3.11", true, rule);
    let rule = Rule::Exe("/opt/*/bin/*".to_owned());
    check(&selection, 7, "/opt/shop/bin/api", true, rule);
    check(&selection, 7, "/usr/sbin/nginx", false, Rule::Unlisted);
    selection.pids = vec![9];
    check(&selection, 9, "/usr/sbin/nginx", true, Rule::Pid);
    selection.ports = vec![8080];
    check(&selection, 7, "/usr/sbin/nginx", false, Rule::Ports);
    selection.exclude_pids = vec![9];
    check(&selection, 9, "/usr/sbin/nginx", false, Rule::ExcludedPid);
}

fn selection(yaml: &str) -> Selection {
    serde_saphyr::from_str(yaml).unwrap()
}

#[test]
fn the_first_rule_that_matches_wins() {
    let id = "3f2a9c01d4e5b6a7988796a5b4c3d2e1f00112233445566778899aabbccddeef";
    let shop = ProcessFacts {
        args: vec![
            "python3".into(),
            "-m".into(),
            "gunicorn".into(),
            "shop:app".into(),
        ],
        place: Place::read("0::/system.slice/shop-web.service"),
        ..facts(7, "/usr/bin/python3.11")
    };
    let docker = ProcessFacts {
        place: Place::read(&format!("0::/system.slice/docker-{id}.scope")),
        ..facts(8, "/usr/sbin/nginx")
    };
    for (rules, process, name, expected) in [
        (
            "[{include: {exe: 'python3*'}}]",
            &shop,
            None,
            Some((true, 1)),
        ),
        (
            "[{include: {exe: 'python3*', unit: 'x*'}}]",
            &shop,
            None,
            None,
        ),
        (
            "[{exclude: {unit: 'shop-*.service'}}, {include: {exe: 'python3*'}}]",
            &shop,
            None,
            Some((false, 1)),
        ),
        (
            "[{exclude: {exe: nginx}}, {include: {args: '*gunicorn*'}}]",
            &shop,
            None,
            Some((true, 2)),
        ),
        (
            "[{include: {cgroup: '/system.slice/*'}}]",
            &shop,
            None,
            Some((true, 1)),
        ),
        (
            "[{include: {container: 'web*'}}]",
            &docker,
            Some("web-1"),
            Some((true, 1)),
        ),
        (
            "[{include: {container: 'web*'}}]",
            &docker,
            Some("db"),
            None,
        ),
        (
            "[{include: {container: '3f2a9c01*'}}]",
            &docker,
            None,
            Some((true, 1)),
        ),
        ("[{include: {container: '*'}}]", &shop, None, None),
        ("[{include: {ports: [80]}}]", &shop, None, None),
    ] {
        let policy = Policy::new(selection(&format!("rules: {rules}")), 1);
        let decision = policy.judge(process, name);
        let listed = match decision.rule {
            Rule::Listed(place, _) => Some((decision.selected, place)),
            _ => None,
        };
        assert_eq!(listed, expected, "{rules}");
    }
}

#[test]
fn who_no_rule_is_for() {
    for (yaml, selected, rule, may_select) in [
        ("rules: [{exclude: {exe: x}}]", true, Rule::All, true),
        ("rules: [{include: {exe: x}}]", false, Rule::Unlisted, true),
        ("default: exclude", false, Rule::Default, false),
        (
            "{default: include, rules: [{include: {exe: x}}]}",
            true,
            Rule::Default,
            true,
        ),
        (
            "{default: exclude, rules: [{include: {ports: [80]}}]}",
            false,
            Rule::Ports,
            true,
        ),
        ("rules: [{exclude: {ports: [80]}}]", true, Rule::All, true),
    ] {
        let policy = Policy::new(selection(yaml), 1);
        let decision = policy.judge(&facts(7, "/usr/sbin/nginx"), None);
        assert_eq!(decision, Decision { selected, rule }, "{yaml}");
        assert_eq!(policy.may_select(), may_select, "{yaml}");
    }
}

#[test]
fn rules_are_written_as_they_are_read() {
    let text = "rules: [{exclude: {exe: sshd}}, {include: {ports: [80, 81]}}, {exclude: {ports: [81, 82]}}]";
    let read = selection(text);
    assert_eq!(read.rules[0].to_string(), "exclude exe `sshd`");
    let written = serde_saphyr::to_string(&read).unwrap();
    let again = selection(&written);
    assert_eq!(again.rules.len(), 3, "{written}");
    use crate::config::Action::{Exclude, Include};
    let ports = [(80, Include), (81, Include), (82, Exclude)];
    assert_eq!(again.port_actions(), ports);
    for wrong in [
        "rules: [{}]",
        "rules: [{include: {}}]",
        "rules: [{include: {exe: a}, exclude: {exe: b}}]",
        "rules: [{include: {exe: a, ports: [1]}}]",
        "rules: [{include: {exec: a}}]",
        "default: maybe",
    ] {
        assert!(
            serde_saphyr::from_str::<Selection>(wrong).is_err(),
            "{wrong}"
        );
    }
}

#[test]
fn the_kernel_is_told_what_its_general_rule_does_not_say() {
    use weft_abi::Verdict::{Allow, Deny, Unwritten};
    for (yaml, exe, expected, unwritten) in [
        ("{}", "/usr/sbin/nginx", None, Some(Unwritten)),
        (
            "exclude_exes: [nginx]",
            "/usr/sbin/nginx",
            Some(Deny),
            Some(Deny),
        ),
        (
            "exclude_exes: [nginx]",
            "/usr/bin/curl",
            None,
            Some(Unwritten),
        ),
        (
            "exes: [nginx]",
            "/usr/sbin/nginx",
            Some(Allow),
            Some(Unwritten),
        ),
        ("exes: [nginx]", "/usr/bin/curl", None, None),
        ("ports: [80]", "/usr/sbin/nginx", None, None),
        (
            "{ports: [80], exclude_exes: [nginx]}",
            "/usr/sbin/nginx",
            Some(Deny),
            Some(Deny),
        ),
        (
            "rules: [{exclude: {ports: [80]}}]",
            "/usr/sbin/nginx",
            None,
            Some(Unwritten),
        ),
    ] {
        let policy = Policy::new(selection(yaml), 1);
        let decision = policy.judge(&facts(7, exe), None);
        let told = |unwritten| {
            let terms = crate::kubernetes::Terms {
                unwritten,
                ..crate::kubernetes::Terms::default()
            };
            judge::verdict(&policy, &decision, &terms)
        };
        assert_eq!(
            (told(false), told(true)),
            (expected, unwritten),
            "{yaml} {exe}"
        );
    }
}
