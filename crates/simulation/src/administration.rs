//! Requests that are about nothing that is synced: hosts, tags, users with their policies and keys, accounts, and the
//! keyring's rotation.

use syncline_seams::chance;
use syncline_store::{HostChange, NewAccessKey, NewHost, Tag, Tagged, key_owner};

use crate::story::{ACCOUNTS, ENDPOINT, Story, scope_of};

/// Secrets that a rotation seals anew at most before it stops and is to be gone on with.
const SEALED_AT_ONCE: usize = 3;

impl Story {
    /// Some requests of an administrator, one after the other.
    pub(crate) async fn administer(&self) {
        match self.dice(5) {
            0 => self.change_hosts().await,
            1 | 2 => self.change_users().await,
            3 => self.rotate_keyring().await,
            _ => self.new_account().await,
        }
    }

    async fn change_hosts(&self) {
        let account = self.dice(2);
        let scope = scope_of(account);
        let id = format!("unused-{:08x}", chance::uuid().as_u128() >> 96);
        let host = NewHost {
            id: id.clone(),
            service: "codeconnections".to_owned(),
            name: id.clone(),
            provider_type: "Git".to_owned(),
            provider_endpoint: ENDPOINT.to_owned(),
            vpc_configuration: None,
            tags: Vec::new(),
        };
        self.ask("make a host", async |store, recording| {
            store.create_host(&scope, host, 50, recording.of(&scope)).await
        })
        .await;
        let tags = vec![Tag { key: "team".to_owned(), value: "one".to_owned() }];
        self.ask("tag a host", async |store, recording| {
            store.tag(&scope, Tagged::Host(id.clone()), tags, recording.of(&scope)).await
        })
        .await;
        let to = HostChange { provider_endpoint: Some(format!("{ENDPOINT}:8443")), vpc_configuration: None };
        self.ask("change a host", async |store, recording| {
            store.update_host(&scope, &id, to, recording.of(&scope)).await
        })
        .await;
        self.ask("untag a host", async |store, recording| {
            let keys = vec!["team".to_owned()];
            store.untag(&scope, Tagged::Host(id.clone()), keys, recording.of(&scope)).await
        })
        .await;
        self.ask("delete a host", async |store, recording| {
            store.delete_host(&scope, &id, recording.of(&scope)).await
        })
        .await;
    }

    async fn change_users(&self) {
        let scope = scope_of(self.dice(2));
        let (user, key) = (chance::uuid().to_string(), chance::uuid().simple().to_string());
        let account = &scope.account;
        self.ask("make a user", async |store, recording| {
            store.create_user(account, &user, &user, recording.of(&scope)).await
        })
        .await;
        self.ask("give a user a policy", async |store, recording| {
            store.put_policy(account, &user, "all", "{}", recording.of(&scope)).await
        })
        .await;
        self.ask("give a user a key", async |store, recording| {
            let owner = key_owner(&key);
            let owner = syncline_store::Owner { account: account.as_str(), arn: &owner };
            let new = NewAccessKey {
                id: key.clone(),
                user_name: user.clone(),
                sealed: store.keyring().seal(&owner, b"the simulation's secret")?,
                token_hash: None,
                expires_at_ms: None,
            };
            store.create_access_key(account, new, recording.of(&scope)).await
        })
        .await;
        if self.dice(4) == 0 {
            // The key stays, for a rotation to seal its secret anew.
            return;
        }
        self.ask("lay a key still", async |store, recording| {
            store.set_access_key_active(account, &user, &key, false, recording.of(&scope)).await
        })
        .await;
        self.ask("delete a key", async |store, recording| {
            store.delete_access_key(account, &user, &key, recording.of(&scope)).await
        })
        .await;
        self.ask("take a policy away", async |store, recording| {
            store.delete_policy(account, &user, "all", recording.of(&scope)).await
        })
        .await;
        self.ask("delete a user", async |store, recording| {
            store.delete_user(account, &user, recording.of(&scope)).await
        })
        .await;
    }

    /// A rotation, some of which stop on the way, to be gone on with by the next one.
    async fn rotate_keyring(&self) {
        let scope = scope_of(0);
        let most = if self.dice(2) == 0 { SEALED_AT_ONCE } else { usize::MAX };
        self.ask("rotate the keyring", async |store, recording| {
            store.keyring().rotate(most, recording.of(&scope)).await
        })
        .await;
    }

    /// An account nobody knew, and a request of it that is refused.
    async fn new_account(&self) {
        let id = format!("{:012}", chance::uuid().as_u128() % 1_000_000_000_000);
        debug_assert!(!ACCOUNTS.contains(&id.as_str()), "it is another one");
        let Ok(account) = id.parse() else { return };
        self.unrecorded("make an account", async |store| store.account(&account).await.map(drop)).await;
        self.unrecorded("start anew", async |store| store.record_root_account(&account).await).await;
        self.ask("be refused", async |store, recording| {
            store
                .record_unchanged(&account, &recording.id, |now_ms| format!("{{\"eventTime\":{now_ms}}}"))
                .await
        })
        .await;
    }
}
