//! Who may do what. Anybody pulls; an account pushes to what its patterns name.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The accounts by name.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Accounts(BTreeMap<String, Account>);

#[derive(Clone, Debug, Deserialize)]
struct Account {
    password: String,
    /// Repositories it may push to: `myuser/*`, or `*`.
    push: Vec<String>,
}

/// An entry of a token's `access` claim (Distribution, token authentication specification).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Access {
    r#type: String,
    name: String,
    actions: Vec<String>,
}

impl Accounts {
    /// Whether the password is this account's.
    pub(crate) fn accept(&self, name: &str, password: &str) -> bool {
        self.0
            .get(name)
            .is_some_and(|account| account.password == password)
    }

    /// What of the scopes asked for (`repository:<name>:<action>[,<action>]`) is granted: as in the
    /// specification, what is not granted is left out without an error.
    pub(crate) fn grant(&self, account: Option<&str>, scopes: &[String]) -> Vec<Access> {
        scopes
            .iter()
            .flat_map(|scope| scope.split(' '))
            .filter_map(|scope| self.grant_one(account, scope))
            .collect()
    }

    fn grant_one(&self, account: Option<&str>, scope: &str) -> Option<Access> {
        let (r#type, rest) = scope.split_once(':')?;
        let (name, actions) = rest.rsplit_once(':')?;
        let owner = account
            .and_then(|account| self.0.get(account))
            .filter(|owner| owner.may_push(name));
        let granted = |action: &&str| {
            *action == "pull" || matches!(*action, "push" | "delete") && owner.is_some()
        };

        let actions = actions.split(',').filter(granted).map(Into::into).collect();
        (r#type == "repository").then(|| Access {
            r#type: r#type.into(),
            name: name.into(),
            actions,
        })
    }
}

impl Account {
    fn may_push(&self, repository: &str) -> bool {
        self.push
            .iter()
            .any(|pattern| match pattern.strip_suffix('*') {
                Some(prefix) => repository.starts_with(prefix),
                None => repository == pattern,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::{Access, Accounts};

    fn accounts() -> Accounts {
        serde_json::from_str(r#"{"myuser": {"password": "p", "push": ["myuser/*"]}}"#).unwrap()
    }

    fn access(name: &str, actions: &[&str]) -> Access {
        Access {
            r#type: "repository".into(),
            name: name.into(),
            actions: actions.iter().map(|a| (*a).into()).collect(),
        }
    }

    #[test]
    fn anybody_may_pull_and_nobody_else_may_push() {
        let asked = ["repository:library/redis:pull,push".to_owned()];
        assert_eq!(
            accounts().grant(None, &asked),
            [access("library/redis", &["pull"])]
        );
        assert_eq!(
            accounts().grant(Some("myuser"), &asked),
            [access("library/redis", &["pull"])]
        );
    }

    #[test]
    fn an_account_pushes_to_its_own_repositories() {
        let asked = ["repository:myuser/app:pull,push repository:other/app:push".to_owned()];
        let granted = accounts().grant(Some("myuser"), &asked);
        assert_eq!(
            granted,
            [
                access("myuser/app", &["pull", "push"]),
                access("other/app", &[])
            ]
        );
    }

    #[test]
    fn a_wrong_password_is_not_accepted() {
        assert!(accounts().accept("myuser", "p"));
        assert!(!accounts().accept("myuser", ""));
        assert!(!accounts().accept("nobody", "p"));
    }
}
