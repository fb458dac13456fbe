//! Workspaces as users write them.

use anyhow::{Context as _, Result};
use lab::parts::cloudflare::ZONE;
use serde_json::{Value, json};

/// The application with its databases, from a branch of its own that is looked at every five
/// seconds.
pub(crate) fn preview(name: &str, branch: &str, registry_secret: &str) -> Value {
    let variables = json!([
        {"name": "MYSQL_RANDOM_ROOT_PASSWORD", "value": "true"}, {"name": "MYSQL_DATABASE", "value": "d"},
        {"name": "MYSQL_USER", "value": "u"}, {"name": "MYSQL_PASSWORD", "value": "p"},
        {"name": "DB_HOST", "value": "${components::mysql.networks.tcp}"},
        {"name": "REDIS_HOST", "value": "${components::redis.networks.tcp}"},
    ]);
    let database = |name: &str, port: u16, variables: &[Value]| {
        let container = json!({
            "name": name, "image": format!("{name}:latest"), "ports": [{"containerPort": port}], "env": variables,
        });
        json!({"name": name, "networks": [{"name": "tcp", "port": port}], "template": {"containers": [container]}})
    };
    let settings = variables.as_array().map_or(&[][..], |all| &all[..4]);
    let build = json!({
        "name": "app",
        "containerRegistries": [{
            "url": "myuser/ephemeralbuilds", "tags": [name],
            "credentials": {"authScheme": "keyPair", "secretRef": {"name": registry_secret}},
        }],
        "importContent": [{
            "credentials": {"authScheme": "token", "secretRef": {"name": "github-credentials"}},
            "contentFrom": {"git": {"url": "git@github.com:myuser/myapp.git", "ref": branch}},
        }],
    });
    let container = json!({
        "name": "app", "image": "${build::app}", "command": ["/srv/aurora-test", "start"], "env": variables,
        "ports": [{"containerPort": 3000}],
    });
    json!({
        "apiVersion": "se.quencer.io/v1alpha1", "kind": "Workspace", "metadata": {"name": name},
        "spec": {
            "updatePolicy": {"interval": "5s"},
            "components": [
                {
                    "name": "app", "template": {"containers": [container]}, "build": build,
                    "networks": [{"name": "http", "port": 80, "targetPort": 3000}],
                    "dependsOn": [{"componentName": "mysql"}, {"componentName": "redis"}],
                },
                database("mysql", 3306, settings),
                database("redis", 6379, &[]),
            ],
        },
    })
}

/// The application alone, which serves nothing, built in this pool.
pub(crate) fn built(name: &str, pool: &str) -> Value {
    let mut preview = preview(name, name, "dockerhub-credentials");
    let mut app = preview["spec"]["components"][0].take();
    app["build"]["runtime"] = json!({"pool": pool});
    app["template"]["containers"] =
        json!([{"name": "app", "image": "${build::app}", "command": ["sleep", "1000"]}]);

    for field in ["networks", "dependsOn"] {
        app.as_object_mut().and_then(|app| app.remove(field));
    }

    preview["spec"]["components"] = json!([app]);
    preview
}

/// A preview with a tunnel of this account in front. The token's Secret is in the Workspace's own
/// namespace.
pub(crate) fn with_tunnel(mut preview: Value, account: &str) -> Value {
    preview["spec"]["networking"] = json!({
        "dns": {"zone": ZONE},
        "tunnel": {"cloudflare": {
            "accountId": account, "route": {"component": "app", "network": "http"},
            "secretKeyRef": {"name": "cloudflare-api-token", "key": "apiKey"},
        }},
    });
    preview
}

/// The application's Dockerfile with one more step at its end.
pub(crate) fn dockerfile(repository: &std::path::Path, step: &str) -> Result<String> {
    let file = repository.join("e2e/apps/click/Dockerfile");
    let dockerfile = std::fs::read_to_string(&file)
        .with_context(|| format!("cannot read {}", file.display()))?;
    Ok(format!("{dockerfile}\n{step}\n"))
}
