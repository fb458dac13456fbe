use std::net::IpAddr;

use test_support::policies::{Peer, allows};

use super::super::testing::{planned, settings, view};
use super::*;

/// What is made for some components that live beside each other: their pods, and every policy.
#[derive(Default)]
struct Made {
    pods: Vec<(String, Peer)>,
    policies: Vec<Value>,
}

impl Made {
    fn of<'a>(views: impl IntoIterator<Item = &'a View>, flags: &[&str]) -> Self {
        let mut made = Self::default();

        for view in views {
            let plan = planned(view, &settings(flags)).unwrap();
            let policies = plan.policies.into_iter();
            made.policies.extend(policies.map(|policy| policy.body));
            let mut pod = plan.workload.unwrap().object.body["spec"]["template"].clone();
            pod["metadata"]["namespace"] = json!(view.namespace());
            made.pods
                .push((view.template().name.clone(), Peer::pod(&pod)));
        }

        made
    }

    /// The sample with changes of its Workspace's spec.
    fn sample(flags: &[&str], change: impl Fn(&mut Value)) -> Self {
        let views = ["redis", "mysql", "click-mania"].map(|name| view(name, &change));
        Self::of(&views, flags)
    }

    fn pod(&self, name: &str) -> &Peer {
        &self.pods.iter().find(|(pod, _)| pod == name).unwrap().1
    }

    fn open(&self, from: &Peer, to: &Peer, port: u16) -> bool {
        allows(&self.policies, from, to, "TCP", port)
    }

    /// The pods that somebody reaches at one of these ports.
    fn reached(&self, from: &Peer, ports: &[u16]) -> Vec<&str> {
        let open = |pod: &Peer| ports.iter().any(|port| self.open(from, pod, *port));
        self.pods
            .iter()
            .filter(|(_, pod)| open(pod))
            .map(|(name, _)| name.as_str())
            .collect()
    }
}

/// The ports of the sample's components, and one that none has.
const PORTS: [u16; 4] = [6379, 3306, 3000, 22];

fn address(text: &str) -> Peer {
    Peer::address(text.parse::<IpAddr>().unwrap())
}

fn stranger() -> Peer {
    Peer::labelled("team-b", &json!({"se.quencer.io/ws-uid": "another"}))
}

fn connector() -> Peer {
    let uid = view("redis", |_spec| ()).owner().uid.to_owned();
    Peer::labelled("sequencer-tunnels", &json!({"se.quencer.io/ws-uid": uid}))
}

fn with_ingress(spec: &mut Value) {
    let rules = json!([{"name": "a", "component": "click-mania", "network": "http"}]);
    spec["networking"] = json!({"dns": {"zone": "yourdomain.com"}, "ingress": {"rules": rules}});
}

/// Components without a Workspace, from the sample's.
fn standalone() -> Vec<View> {
    let component = |name: &str| {
        let mut component = view(name, |_spec| ()).component;
        component.metadata.uid = Some(format!("uid-of-{name}"));
        component
    };

    let alone = |own: &str, other: &str| View {
        component: component(own),
        workspace: None,
        siblings: vec![component(other)],
        builds: Vec::new(),
    };

    vec![alone("redis", "mysql"), alone("mysql", "redis")]
}

#[test]
fn pods_of_a_workspace_reach_each_other_name_servers_and_the_internet_and_nothing_else() {
    let made = Made::sample(&[], |_spec| ());
    let web = made.pod("click-mania");
    assert_eq!(made.reached(web, &PORTS), ["redis", "mysql", "click-mania"]);
    assert!(
        made.open(web, &address("10.96.0.10"), 53)
            && made.open(web, &address("93.184.216.34"), 443)
    );

    for (closed, port) in [
        ("93.184.216.34", 25),
        ("10.96.0.1", 443),
        ("198.18.0.2", 6443),
        ("169.254.169.254", 80),
        ("169.254.169.254", 443),
        ("192.168.1.1", 443),
        ("fd00::1", 443),
    ] {
        assert!(!made.open(web, &address(closed), port), "{closed} {port}");
    }

    assert!(!made.open(web, &stranger(), 443) && made.reached(&stranger(), &PORTS).is_empty());
    let closed = Made::sample(&["--internet-egress=false"], |_spec| ());
    assert!(!closed.open(closed.pod("redis"), &address("93.184.216.34"), 443));
}

#[test]
fn a_published_port_is_open_on_the_pods_of_its_component_alone() {
    let made = Made::sample(&[], with_ingress);

    for anybody in [
        stranger(),
        address("198.18.0.9"),
        Peer::labelled("traefik", &json!({})),
    ] {
        assert_eq!(made.reached(&anybody, &PORTS), ["click-mania"]);
        let open = |port: &u16| made.open(&anybody, made.pod("click-mania"), *port);
        assert_eq!(PORTS.into_iter().filter(open).collect::<Vec<_>>(), [3000]);
    }

    // Its database listens at the same port.
    assert!(!made.open(&stranger(), made.pod("mysql"), 3000));
    assert!(made.open(made.pod("click-mania"), made.pod("mysql"), 3306));
}

#[test]
fn a_connector_reaches_what_its_routes_name() {
    let made = Made::sample(&[], |_spec| ());
    assert_eq!(made.reached(&connector(), &PORTS), ["click-mania"]);
    assert!(!made.open(&connector(), made.pod("click-mania"), 22));
    let more = Made::sample(&[], |spec| {
        let route = json!({"name": "a", "subdomain": "a", "component": "redis", "network": "tcp"});
        spec["networking"]["tunnel"]["cloudflare"]["additionalRoutes"] = json!([route]);
    });
    assert_eq!(more.reached(&connector(), &PORTS), ["redis", "click-mania"]);
    for other in [
        Peer::labelled(
            "sequencer-tunnels",
            &json!({"se.quencer.io/ws-uid": "another"}),
        ),
        stranger(),
    ] {
        assert!(more.reached(&other, &PORTS).is_empty());
    }
    assert!(
        Made::sample(&[], with_ingress)
            .reached(&connector(), &[6379, 3306, 22])
            .is_empty()
    );
}

#[test]
fn a_named_target_port_is_published_too() {
    let made = Made::sample(&[], |spec| {
        with_ingress(spec);
        let click = &mut spec["components"][2];
        click["template"]["containers"][0]["ports"] =
            json!([{"name": "web", "containerPort": 3000}]);
        click["networks"][0]["targetPort"] = json!("web");
    });
    assert!(
        made.open(&stranger(), made.pod("click-mania"), 3000)
            && !made.open(&stranger(), made.pod("redis"), 3000)
    );
}

#[test]
fn an_ingress_that_a_tunnel_takes_the_place_of_reaches_what_it_did_until_it_is_gone() {
    let mut view = view("redis", |_spec| ());
    let open = |view: &View| {
        let policies = policies(view, &settings(&[]), &Earlier::new()).unwrap();
        let own = policies.get(1);
        own.map(|own| own.body["spec"]["ingress"].clone())
    };
    assert_eq!(open(&view), None);

    let service = service_name(&view, "redis", "tcp");
    let rule = json!({"name": "a", "host": "a.b", "path": "/", "service": service, "port": 6379});
    let status = json!({"ingress": {"name": "a", "rules": [rule]}});
    let workspace = view.workspace.as_mut().unwrap();
    workspace.status = serde_json::from_value(status).unwrap();
    let all = json!([{"ports": [{"port": 6379, "protocol": "TCP"}]}]);
    assert_eq!(open(&view), Some(all));
}

#[test]
fn the_ports_of_pods_that_still_serve_are_open_too() {
    let view = view("click-mania", with_ingress);
    let open = |earlier: &Earlier| {
        let policies = policies(&view, &settings(&[]), earlier).unwrap();
        policies[1].body["spec"]["ingress"][0]["ports"].clone()
    };

    let port = |port: u16| json!({"port": port, "protocol": "TCP"});
    assert_eq!(open(&Earlier::new()), json!([port(3000)]));
    let earlier = Earlier::from([("http".into(), vec![IntOrString::Int(80)])]);
    assert_eq!(open(&earlier), json!([port(3000), port(80)]));
}

#[test]
fn components_of_their_own_reach_each_others_networks_and_nothing_else_of_the_cluster() {
    let views = standalone();
    let mut made = Made::of(&views, &[]);
    // A Workspace in the same namespace.
    let workspace = Made::sample(&[], with_ingress);
    made.policies.extend(workspace.policies.clone());
    let redis = made.pod("redis");
    assert!(made.open(redis, made.pod("mysql"), 3306) && !made.open(redis, made.pod("mysql"), 22));
    assert!(made.open(redis, redis, 22));
    assert!(
        made.open(redis, &address("10.96.0.10"), 53)
            && made.open(redis, &address("93.184.216.34"), 443)
    );

    for (closed, port) in [
        ("10.96.0.1", 443),
        ("198.18.0.2", 6443),
        ("169.254.169.254", 80),
        ("93.184.216.34", 25),
    ] {
        assert!(!made.open(redis, &address(closed), port), "{closed} {port}");
    }

    assert!(!made.open(redis, &stranger(), 3306));
    for (name, pod) in &workspace.pods {
        assert!(
            PORTS
                .iter()
                .all(|port| !made.open(redis, pod, *port) && !made.open(pod, redis, *port)),
            "{name}"
        );
    }

    let elsewhere = Peer::labelled("team-b", &json!(labels::standalone_selector()));
    for other in [stranger(), elsewhere, connector()] {
        assert!(made.reached(&other, &PORTS).is_empty(), "{other:?}");
    }
}

#[test]
fn who_is_a_component_of_its_own_no_template_says() {
    let claims = |view: &mut View| {
        let labels = [
            ("se.quencer.io/standalone", "true"),
            ("se.quencer.io/ws-uid", "another"),
        ];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        view.component
            .spec
            .template
            .pod_metadata
            .labels
            .extend(labels);
    };
    let mut views = standalone();
    views.iter_mut().for_each(claims);
    let own = Made::of(&views, &[]);
    assert!(
        own.open(own.pod("redis"), own.pod("mysql"), 3306)
            && own.reached(&stranger(), &PORTS).is_empty()
    );
}

/// The names of the NetworkPolicies that are planned for a component of the sample.
fn names(name: &str, change: fn(&mut Value)) -> Vec<String> {
    let plan = planned(&view(name, change), &settings(&[])).unwrap();
    let policies = plan.policies.iter();
    policies.map(|object| object.name().to_owned()).collect()
}

#[test]
fn what_is_published_no_more_is_not_planned_any_more() {
    let own = |name: &str| view(name, |_spec| ()).owner().policy(name);
    let closed = |spec: &mut Value| drop(spec.as_object_mut().unwrap().remove("networking"));

    assert!(names("click-mania", with_ingress).contains(&own("click-mania")));
    assert!(!names("mysql", with_ingress).contains(&own("mysql")));
    assert!(!names("click-mania", closed).contains(&own("click-mania")));
}

#[test]
fn where_the_chart_wants_no_policies_those_that_were_made_go() {
    let unwanted = |flags: &[&str], view: &View| {
        let plan = planned(view, &settings(flags)).unwrap();
        plan.unwanted.map(|object| object.name().to_owned())
    };
    let sample = view("mysql", with_ingress);
    let of_workspace = sample.owner().ingress();
    let none = &["--network-policy=false"];

    assert_eq!(unwanted(none, &sample), Some(of_workspace));
    assert_eq!(unwanted(&[], &sample), None);
    assert!(Made::sample(none, with_ingress).policies.is_empty());
    let mut own = standalone().into_iter();
    assert!(own.all(|view| unwanted(none, &view).is_none()));
}
