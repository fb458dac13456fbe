//! Where the edge sends a host, from the records and tunnels alone.
use uuid::Uuid;

use crate::{
    lookup::{Found, lookup},
    record::Kind,
    state::Data,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// No proxied record, or one whose target does not resolve.
    Nowhere,
    Tunnel(Uuid),
    /// An address or a name outside.
    Origin(String),
}

pub(crate) fn route(host: &str, zone: &str, data: &Data) -> Route {
    let Found::Records(records) = lookup(&data.records, zone, host) else {
        return Route::Nowhere;
    };

    let Some(record) = records.into_iter().find(|record| record.content.proxied) else {
        return Route::Nowhere;
    };

    let target = &record.content.content;

    match (
        record.content.kind,
        target.strip_suffix(".cfargotunnel.com"),
    ) {
        (Kind::Cname, Some(id)) => match id.parse().ok().and_then(|id| data.live(id)) {
            Some(tunnel) => Route::Tunnel(tunnel.id),
            None => Route::Nowhere,
        },
        (Kind::Aaaa, _) => Route::Origin(format!("[{target}]")),
        _ => Route::Origin(target.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock,
        lookup::tests::{ZONE, record},
        tunnel::Tunnel,
    };

    #[test]
    fn only_a_proxied_record_of_a_live_tunnel_leads_to_it() {
        let live = Tunnel::new("live".into(), "cloudflare".into(), None);
        let mut deleted = Tunnel::new("deleted".into(), "cloudflare".into(), None);
        deleted.deleted_at = Some(clock::now());

        let to = |name: &str, id: Uuid, proxied: bool| {
            record("CNAME", name, &format!("{id}.cfargotunnel.com"), proxied)
        };

        let records = vec![
            to("live", live.id, true),
            to("*.pr-1", live.id, true),
            to("grey", live.id, false),
            to("deleted", deleted.id, true),
            to("foreign", Uuid::new_v4(), true),
            record("A", "a", "192.0.2.1", true),
        ];
        let id = live.id;
        let data = Data {
            revision: 0,
            tunnels: vec![live, deleted],
            records,
        };

        let at = |name: &str| route(&format!("{name}.{ZONE}"), ZONE, &data);
        assert_eq!(at("live"), Route::Tunnel(id));
        assert_eq!(at("api.pr-1"), Route::Tunnel(id));
        for name in ["grey", "deleted", "foreign", "absent"] {
            assert_eq!(at(name), Route::Nowhere, "{name}");
        }

        assert_eq!(at("a"), Route::Origin("192.0.2.1".into()));
    }
}
