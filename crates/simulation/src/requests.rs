//! Requests that are made in a history, as the API's handlers make them of the store.

use std::sync::PoisonError;

use syncline_seams::chance;
use syncline_store::{
    Change, ConfigurationChange, ConfigurationQuotas, CredentialRow, LinkChange, NewConfiguration,
    NewConnection, NewLink, Owner, Scope, Store, StoreResult, Suspended, Told,
};

use crate::clock::pass;
use crate::story::{
    ACCOUNTS, BRANCHES, CONNECTIONS, HOSTS, REGION, REPOSITORIES, Slot, Story, TOKENS, role_of, scope_of,
};

pub(crate) const SYNC_TYPE: &str = "CFN_STACK_SYNC";
const QUOTAS: ConfigurationQuotas = ConfigurationQuotas { per_account: 100, per_link: 100, per_branch: 50 };

impl Story {
    /// Makes a request, and remembers whether it was acknowledged.
    pub(crate) async fn ask<T, F>(&self, what: &str, ask: impl FnOnce(Store, Recording) -> F)
    where
        F: Future<Output = StoreResult<T>>,
    {
        let world = &self.site.world;
        let Some(store) = self.site.store() else {
            world.tell(|| format!("{what}: nobody is there"));
            return;
        };
        let id = chance::uuid().to_string();
        let asked = ask(store, Recording { id: id.clone() }).await;
        world.tell(|| {
            format!("{what}: {}", asked.as_ref().err().map_or("done".to_owned(), |e| e.to_string()))
        });
        if asked.is_ok() {
            self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).push(id);
        }
    }

    /// Asks for what leaves no audit record.
    pub(crate) async fn unrecorded<F>(&self, what: &str, ask: impl FnOnce(Store) -> F)
    where
        F: Future<Output = StoreResult<()>>,
    {
        let Some(store) = self.site.store() else { return };
        let asked = ask(store).await;
        self.site.world.tell(|| format!("{what}: {asked:?}"));
    }

    pub(crate) async fn configure(&self, slot: &Slot) {
        let only_files = self.dice(2) == 0;
        let new = NewConfiguration {
            sync_type: SYNC_TYPE.to_owned(),
            resource_name: slot.stack.clone(),
            link_id: REPOSITORIES[slot.repository].2.to_owned(),
            branch: BRANCHES[usize::from(self.dice(4) == 0)].to_owned(),
            config_file: format!("{}.yaml", slot.file),
            role_arn: role_of(slot.account, "sync"),
            publish_deployment_status: None,
            trigger_resource_update_on: Some(
                if only_files { "FILE_CHANGE" } else { "ANY_CHANGE" }.to_owned(),
            ),
            pull_request_comment: None,
        };
        let scope = scope_of(slot.account);
        self.ask(&format!("configure {}", slot.stack), async |store, recording| {
            let change = recording.of(&scope);
            store.create_configuration(&scope, new, QUOTAS, change).await
        })
        .await;
    }

    pub(crate) async fn sync_now(&self) {
        let slot = self.some_slot();
        let scope = scope_of(slot.account);
        self.ask(&format!("sync {} now", slot.stack), async |store, recording| {
            store.sync_now(&scope, SYNC_TYPE, &slot.stack, recording.of(&scope)).await
        })
        .await;
    }

    pub(crate) async fn update_configuration(&self) {
        let slot = self.some_slot();
        let scope = scope_of(slot.account);
        let mut to = ConfigurationChange::default();
        match self.dice(5) {
            0 => to.branch = Some(BRANCHES[self.dice(2)].to_owned()),
            1 => {
                let role = if self.dice(2) == 0 { "sync" } else { "other" };
                to.role_arn = Some(role_of(slot.account, role));
            }
            2 => {
                // Another file of the same repository.
                let others: Vec<_> =
                    self.slots.iter().filter(|other| other.repository == slot.repository).collect();
                to.config_file = Some(format!("{}.yaml", others[self.dice(others.len())].file));
            }
            3 if slot.account == 0 => to.link_id = Some(REPOSITORIES[self.dice(2)].2.to_owned()),
            _ => {
                let which = if self.dice(2) == 0 { "FILE_CHANGE" } else { "ANY_CHANGE" };
                to.trigger_resource_update_on = Some(which.to_owned());
            }
        }
        self.ask(&format!("update {} to {to:?}", slot.stack), async |store, recording| {
            store.update_configuration(&scope, SYNC_TYPE, &slot.stack, to, QUOTAS, recording.of(&scope)).await
        })
        .await;
    }

    pub(crate) async fn delete_configuration(&self) {
        let slot = self.some_slot();
        let scope = scope_of(slot.account);
        self.ask(&format!("delete {}", slot.stack), async |store, recording| {
            store.delete_configuration(&scope, SYNC_TYPE, &slot.stack, recording.of(&scope)).await
        })
        .await;
        if self.dice(2) == 0 {
            self.configure(&slot.clone()).await;
        }
    }

    /// Has a sync or an account rest, or go on.
    pub(crate) async fn suspend_or_resume(&self) {
        let slot = self.some_slot();
        let what = match self.dice(4) {
            0 => Suspended::Account,
            _ => suspended(slot),
        };
        let scope = scope_of(slot.account);
        if self.dice(2) == 0 {
            self.ask(&format!("suspend {what:?}"), async |store, recording| {
                store.suspend(&scope, what, "it rests", recording.of(&scope)).await
            })
            .await;
        } else {
            self.resume(slot.account, what).await;
        }
    }

    /// Has a sync or an account go on.
    pub(crate) async fn resume(&self, account: usize, what: Suspended) {
        let scope = scope_of(account);
        self.ask(&format!("resume {what:?}"), async |store, recording| {
            store.resume(&scope, what, recording.of(&scope)).await
        })
        .await;
    }

    /// Resolves some blocker that stands.
    pub(crate) async fn resolve(&self) {
        let standing: Vec<(String, String)> = self.site.oracle.rows(
            "SELECT s.resource_name, b.id FROM blocker b JOIN sync_configuration s ON s.id = b.sync_id
              WHERE b.status = 'ACTIVE' AND s.deleted = 0 ORDER BY s.resource_name, b.number",
            |row| Ok((row.get(0)?, row.get(1)?)),
        );
        let Some((stack, id)) = standing.get(self.dice(standing.len().max(1))) else { return };
        let Some(slot) = self.slots.iter().find(|slot| slot.stack == *stack) else { return };
        let scope = scope_of(slot.account);
        self.ask(&format!("resolve a blocker of {stack}"), async |store, recording| {
            store.resolve_blocker(&scope, SYNC_TYPE, stack, id, "again", recording.of(&scope)).await
        })
        .await;
    }

    /// The account's connection as it is now.
    fn connection_of(&self, account: usize) -> String {
        let gone = self.gone_connections.lock().unwrap_or_else(PoisonError::into_inner);
        gone[account].clone().unwrap_or_else(|| CONNECTIONS[account].to_owned())
    }

    pub(crate) async fn update_link(&self) {
        let (account, _, link) = REPOSITORIES[self.dice(REPOSITORIES.len())];
        let scope = scope_of(account);
        let to = LinkChange { connection_id: Some(self.connection_of(account)), encryption_key_arn: None };
        self.ask("update a link", async |store, recording| {
            store.update_link(&scope, link, to, recording.of(&scope)).await
        })
        .await;
    }

    pub(crate) async fn authorize(&self) {
        let account = self.dice(2);
        let id = self.connection_of(account);
        self.authorize_connection(account, &id).await;
    }

    async fn authorize_connection(&self, account: usize, id: &str) {
        let scope = scope_of(account);
        self.ask("authorize a connection", async |store, recording| {
            let sealed = sealed_token(&store, account, id)?;
            let credential = CredentialRow { sealed: Some(sealed), tried_at: None };
            store.authorize_connection(&scope, id, credential, recording.of(&scope)).await
        })
        .await;
    }

    /// Deletes an account's connection, makes another one and links everything through it.
    pub(crate) async fn replace_connection(&self) {
        let account = self.dice(2);
        let (scope, old) = (scope_of(account), self.connection_of(account));
        self.ask("delete a connection", async |store, recording| {
            store.delete_connection(&scope, &old, recording.of(&scope)).await
        })
        .await;
        pass(self.dice(20_000) as u64).await;
        self.connect_again(account).await;
    }

    /// Makes a connection and links everything of the account through it.
    pub(crate) async fn connect_again(&self, account: usize) {
        let scope = scope_of(account);
        let new = new_connection(account, &chance::uuid().to_string());
        let id = new.id.clone();
        self.ask("make a connection", async |store, recording| {
            store.create_connection(&scope, new, 250, recording.of(&scope)).await
        })
        .await;
        self.authorize_connection(account, &id).await;
        self.gone_connections.lock().unwrap_or_else(PoisonError::into_inner)[account] = Some(id.clone());
        for (owner, _, link) in REPOSITORIES {
            if owner == account {
                let to = LinkChange { connection_id: Some(id.clone()), encryption_key_arn: None };
                self.ask("link through it", async |store, recording| {
                    store.update_link(&scope, link, to, recording.of(&scope)).await
                })
                .await;
            }
        }
    }

    /// Makes a link that nothing uses, and deletes it.
    pub(crate) async fn change_unused_link(&self) {
        let account = self.dice(2);
        let scope = scope_of(account);
        let new = new_link(&chance::uuid().to_string(), &self.connection_of(account), "one/unused");
        let id = new.id.clone();
        self.ask("make a link", async |store, recording| {
            store.create_link(&scope, new, 100, recording.of(&scope)).await
        })
        .await;
        self.ask("delete a link", async |store, recording| {
            store.delete_link(&scope, &id, recording.of(&scope)).await
        })
        .await;
    }
}

/// The audit record of a request.
pub(crate) struct Recording {
    pub(crate) id: String,
}

impl Recording {
    /// A change whose outcome is the answer, with a record.
    pub(crate) fn of<T: Send + 'static>(self, scope: &Scope) -> Change<T, T> {
        let tell = |_: &T, now_ms| Told { record: format!("{{\"eventTime\":{now_ms}}}"), answer: None };
        Change::recorded(scope.account.clone(), self.id, |outcome| outcome, tell)
    }
}

/// A stack's sync, to be suspended or resumed.
pub(crate) fn suspended(slot: &Slot) -> Suspended {
    Suspended::Sync { sync_type: SYNC_TYPE.to_owned(), name: slot.stack.clone() }
}

pub(crate) fn new_connection(account: usize, id: &str) -> NewConnection {
    NewConnection {
        id: id.to_owned(),
        service: "codeconnections".to_owned(),
        name: format!("c-{}", &id[..13]),
        provider_type: None,
        host_id: Some(HOSTS[account].to_owned()),
        tags: Vec::new(),
    }
}

pub(crate) fn new_link(id: &str, connection: &str, repository: &str) -> NewLink {
    let (owner, name) = repository.split_once('/').unwrap_or((repository, repository));
    NewLink {
        id: id.to_owned(),
        service: "codeconnections".to_owned(),
        connection_id: connection.to_owned(),
        owner_id: owner.to_owned(),
        repository_name: name.to_owned(),
        encryption_key_arn: None,
        tags: Vec::new(),
    }
}

/// The account's token, sealed for a connection.
pub(crate) fn sealed_token(store: &Store, account: usize, id: &str) -> StoreResult<Vec<u8>> {
    let arn = format!("arn:aws:codeconnections:{REGION}:{}:connection/{id}", ACCOUNTS[account]);
    let secret = serde_json::json!({ "username": "git", "token": TOKENS[account] }).to_string();
    store.keyring().seal(&Owner { account: ACCOUNTS[account], arn: &arn }, secret.as_bytes())
}
