//! Who may call: users of an account, their policies, their access keys.

use syncline_model::names::AccountId;
use syncline_seams::Secret;

use crate::change::Change;
use crate::keyring::{Owner, OwnerOf};
use crate::sql::{Row, Tx, params};
use crate::{Store, StoreResult};

/// Access keys that do not expire, of one user: AWS's quota, which leaves room for changing one for another.
pub const KEYS_PER_USER: u32 = 2;
/// Temporary access keys of one user that have not ended.
pub const TEMPORARY_KEYS_PER_USER: u32 = 100;
/// Policies of one user.
pub const POLICIES_PER_USER: u32 = 10;
/// Users of one account.
pub const USERS_PER_ACCOUNT: u32 = 5000;
/// How long an expired key is kept, so that its holder is told that it has expired, in milliseconds.
const EXPIRED_KEPT_MS: i64 = 24 * 60 * 60 * 1000;

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its id, never used again.
    pub id: String,
    /// Its name, unique in the account.
    pub name: String,
    /// Counts the changes of its policies.
    pub policy_version: i64,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_at_ms: i64,
}

/// An access key as its holder's requests are verified with.
pub struct AccessKey {
    /// The account it acts for.
    pub account: AccountId,
    /// Whose it is.
    pub user: User,
    /// Its secret, sealed: [`Store::secret_of`] opens it.
    pub sealed: Vec<u8>,
    /// SHA-256 of its session token in hexadecimal, where it is a temporary one.
    pub token_hash: Option<String>,
    /// When it ends, where it is a temporary one, in milliseconds since the Unix epoch.
    pub expires_at_ms: Option<i64>,
    /// Whether it may be used.
    pub is_active: bool,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_at_ms: i64,
}

impl AccessKey {
    /// Bytes that belong to the secret of the key of this id and to no other: whatever it is sealed for, and into.
    #[must_use]
    pub fn label(&self, id: &str) -> Vec<u8> {
        [self.account.as_str().as_bytes(), id.as_bytes(), &self.sealed].join(&b'\n')
    }
}

impl std::fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AccessKey({}, {}, ***)", self.account, self.user.name)
    }
}

/// An access key as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessKeyInfo {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub user_name: String,
    /// When it ends, where it is a temporary one, in milliseconds since the Unix epoch.
    pub expires_at_ms: Option<i64>,
    /// Whether it may be used.
    pub is_active: bool,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_at_ms: i64,
}

/// An access key to make.
#[derive(Debug, Clone)]
pub struct NewAccessKey {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub user_name: String,
    /// Its secret, sealed for [`key_owner`].
    pub sealed: Vec<u8>,
    /// SHA-256 of the session token in hexadecimal, of a temporary key.
    pub token_hash: Option<String>,
    /// When it ends, of a temporary key, in milliseconds since the Unix epoch.
    pub expires_at_ms: Option<i64>,
}

/// What came of making something of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// Made, or put in the place of the former one.
    Made,
    /// There is one of this name.
    AlreadyExists,
    /// The account has no such user.
    NoUser,
    /// There are as many as may be.
    LimitExceeded,
}

/// The row that an access key's secret is sealed for, as the resource of an [`Owner`].
#[must_use]
pub fn key_owner(key_id: &str) -> String {
    format!("access-key/{key_id}")
}

/// The columns that [`owner`] reads.
pub(crate) const OWNED_BY: &str = "account_id, id";

/// Whom an access key's secret is sealed for.
pub(crate) fn owner(row: &mut Row) -> StoreResult<OwnerOf> {
    Ok(OwnerOf { account: row.text()?, arn: key_owner(&row.text()?) })
}

fn user(row: &mut Row) -> StoreResult<User> {
    Ok(User { id: row.text()?, name: row.text()?, policy_version: row.int()?, created_at_ms: row.int()? })
}

const USER: &str = "p.id, p.name, p.policy_version, p.created_at_ms";

/// A key with its [`USER`].
const ACCESS_KEY: &str =
    "SELECT k.account_id, k.secret, k.token_hash, k.expires_at_ms, k.active, k.created_at_ms,
        p.id, p.name, p.policy_version, p.created_at_ms
   FROM access_key k JOIN principal p ON p.id = k.principal_id WHERE k.id = $1";

fn find_user(tx: &Tx<'_>, account: &AccountId, name: &str) -> StoreResult<Option<User>> {
    tx.row(
        &format!("SELECT {USER} FROM principal p WHERE p.account_id = $1 AND p.name = $2"),
        params![account.as_str(), name],
    )?
    .map(|mut row| user(&mut row))
    .transpose()
}

/// The user's policies are others now: whoever read them before reads them again.
fn count_policy_change(tx: &Tx<'_>, user_id: &str) -> StoreResult<()> {
    tx.execute("UPDATE principal SET policy_version = policy_version + 1 WHERE id = $1", params![user_id])?;
    Ok(())
}

impl Store {
    /// The access key, whoever's it is.
    ///
    /// # Errors
    /// The database's.
    pub async fn access_key(&self, id: &str) -> StoreResult<Option<AccessKey>> {
        let Some(mut row) = self.look_up(ACCESS_KEY, &[id]).await? else { return Ok(None) };
        let account = row.parsed(|text| text.parse::<AccountId>().ok())?;
        let sealed = row.opt_bytes()?.unwrap_or_default();
        let (token_hash, expires_at_ms) = (row.opt_text()?, row.opt_int()?);
        let (is_active, created_at_ms) = (row.bool()?, row.int()?);
        let user = user(&mut row)?;
        Ok(Some(AccessKey { account, user, sealed, token_hash, expires_at_ms, is_active, created_at_ms }))
    }

    /// The secret of the access key of this id.
    ///
    /// # Errors
    /// The keyring's.
    pub async fn secret_of(&self, id: &str, key: &AccessKey) -> StoreResult<Secret<Vec<u8>>> {
        let owner = key_owner(id);
        let owner = Owner { account: key.account.as_str(), arn: &owner };
        self.keyring().open_sealed(&owner, &key.sealed).await
    }

    /// The name and document of every policy of the user.
    ///
    /// # Errors
    /// The database's.
    pub async fn policies(&self, user_id: &str) -> StoreResult<Vec<(String, String)>> {
        let user_id = user_id.to_owned();
        self.read(move |tx| {
            let user_id = user_id.as_str();
            tx.rows(
                "SELECT name, document FROM policy WHERE principal_id = $1 ORDER BY name",
                params![user_id],
            )?
            .into_iter()
            .map(|mut row| Ok((row.text()?, row.text()?)))
            .collect()
        })
        .await
    }

    /// The user of this name, if the account has it.
    ///
    /// # Errors
    /// The database's.
    pub async fn user(&self, account: &AccountId, name: &str) -> StoreResult<Option<User>> {
        let (account, name) = (account.clone(), name.to_owned());
        self.read(move |tx| find_user(tx, &account, &name)).await
    }

    /// Every user of the account, by name.
    ///
    /// # Errors
    /// The database's.
    pub async fn users(&self, account: &AccountId) -> StoreResult<Vec<User>> {
        let account = account.clone();
        self.read(move |tx| {
            let account = &account;
            tx.rows(
                &format!("SELECT {USER} FROM principal p WHERE p.account_id = $1 ORDER BY p.name"),
                params![account.as_str()],
            )?
            .iter_mut()
            .map(user)
            .collect()
        })
        .await
    }

    /// Makes a user without keys and policies.
    ///
    /// # Errors
    /// The database's.
    pub async fn create_user<A: Send + 'static>(
        &self,
        account: &AccountId,
        id: &str,
        name: &str,
        change: Change<Made, A>,
    ) -> StoreResult<A> {
        let account = account.clone();
        let [id, name] = [id, name].map(str::to_owned);
        self.change("store.create_user", change, move |tx| {
            tx.lock_account(&account)?;
            if find_user(tx, &account, &name)?.is_some() {
                return Ok(Made::AlreadyExists);
            }
            let count =
                tx.count("SELECT count(*) FROM principal WHERE account_id = $1", params![account.as_str()])?;
            if count >= i64::from(USERS_PER_ACCOUNT) {
                return Ok(Made::LimitExceeded);
            }
            tx.execute(
                "INSERT INTO principal (id, account_id, name, policy_version, created_at_ms)
                   VALUES ($1, $2, $3, 0, $4)",
                params![id, account.as_str(), name, tx.now_ms()],
            )?;
            Ok(Made::Made)
        })
        .await
    }

    /// Deletes a user with its keys and policies. False if the account has no such user.
    ///
    /// # Errors
    /// The database's.
    pub async fn delete_user<A: Send + 'static>(
        &self,
        account: &AccountId,
        name: &str,
        change: Change<bool, A>,
    ) -> StoreResult<A> {
        let (account, name) = (account.clone(), name.to_owned());
        self.change("store.delete_user", change, move |tx| {
            tx.lock_account(&account)?;
            let Some(user) = find_user(tx, &account, &name)? else { return Ok(false) };
            for table in ["policy", "access_key"] {
                tx.execute(&format!("DELETE FROM {table} WHERE principal_id = $1"), params![&user.id])?;
            }
            tx.execute("DELETE FROM principal WHERE id = $1", params![&user.id])?;
            Ok(true)
        })
        .await
    }

    /// Gives a user a policy, in the place of the one of this name if there is one.
    ///
    /// # Errors
    /// The database's.
    pub async fn put_policy<A: Send + 'static>(
        &self,
        account: &AccountId,
        user_name: &str,
        name: &str,
        document: &str,
        change: Change<Made, A>,
    ) -> StoreResult<A> {
        let account = account.clone();
        let [user_name, name, document] = [user_name, name, document].map(str::to_owned);
        self.change("store.put_policy", change, move |tx| {
            tx.lock_account(&account)?;
            let Some(user) = find_user(tx, &account, &user_name)? else { return Ok(Made::NoUser) };
            let others = tx.count(
                "SELECT count(*) FROM policy WHERE principal_id = $1 AND name <> $2",
                params![&user.id, &name],
            )?;
            if others >= i64::from(POLICIES_PER_USER) {
                return Ok(Made::LimitExceeded);
            }
            tx.execute(
                "INSERT INTO policy (principal_id, name, document) VALUES ($1, $2, $3)
                   ON CONFLICT (principal_id, name) DO UPDATE SET document = excluded.document",
                params![&user.id, name, document],
            )?;
            count_policy_change(tx, &user.id)?;
            Ok(Made::Made)
        })
        .await
    }

    /// Takes a policy from a user. False if there is no such user or policy.
    ///
    /// # Errors
    /// The database's.
    pub async fn delete_policy<A: Send + 'static>(
        &self,
        account: &AccountId,
        user_name: &str,
        name: &str,
        change: Change<bool, A>,
    ) -> StoreResult<A> {
        let account = account.clone();
        let [user_name, name] = [user_name, name].map(str::to_owned);
        self.change("store.delete_policy", change, move |tx| {
            tx.lock_account(&account)?;
            let Some(user) = find_user(tx, &account, &user_name)? else { return Ok(false) };
            let deleted = tx.execute(
                "DELETE FROM policy WHERE principal_id = $1 AND name = $2",
                params![&user.id, name],
            )?;
            count_policy_change(tx, &user.id)?;
            Ok(deleted > 0)
        })
        .await
    }

    /// The keys of the account's users, oldest first.
    ///
    /// # Errors
    /// The database's.
    pub async fn access_keys(&self, account: &AccountId) -> StoreResult<Vec<AccessKeyInfo>> {
        let account = account.clone();
        self.read(move |tx| {
            let account = &account;
            tx.rows(
                "SELECT k.id, p.name, k.expires_at_ms, k.active, k.created_at_ms
                   FROM access_key k JOIN principal p ON p.id = k.principal_id
                  WHERE k.account_id = $1 ORDER BY k.created_at_ms, k.id",
                params![account.as_str()],
            )?
            .into_iter()
            .map(|mut row| {
                Ok(AccessKeyInfo {
                    id: row.text()?,
                    user_name: row.text()?,
                    expires_at_ms: row.opt_int()?,
                    is_active: row.bool()?,
                    created_at_ms: row.int()?,
                })
            })
            .collect()
        })
        .await
    }

    /// Makes an access key of a user, and forgets the user's keys that expired long ago.
    ///
    /// # Errors
    /// The database's.
    pub async fn create_access_key<A: Send + 'static>(
        &self,
        account: &AccountId,
        new: NewAccessKey,
        change: Change<Made, A>,
    ) -> StoreResult<A> {
        let (account, keys) = (account.clone(), self.keys());
        self.change("store.create_access_key", change, move |tx| {
            tx.lock_account(&account)?;
            let Some(user) = find_user(tx, &account, &new.user_name)? else { return Ok(Made::NoUser) };
            tx.execute(
                "DELETE FROM access_key WHERE principal_id = $1 AND expires_at_ms < $2",
                params![&user.id, tx.now_ms() - EXPIRED_KEPT_MS],
            )?;
            let (count, quota) = if new.expires_at_ms.is_some() {
                let live = "SELECT count(*) FROM access_key WHERE principal_id = $1 AND expires_at_ms > $2";
                (tx.count(live, params![&user.id, tx.now_ms()])?, TEMPORARY_KEYS_PER_USER)
            } else {
                let lasting =
                    "SELECT count(*) FROM access_key WHERE principal_id = $1 AND expires_at_ms IS NULL";
                (tx.count(lasting, params![&user.id])?, KEYS_PER_USER)
            };
            if count >= i64::from(quota) {
                return Ok(Made::LimitExceeded);
            }
            let arn = key_owner(&new.id);
            let owner = Owner { account: account.as_str(), arn: &arn };
            let sealed = keys.under_active(tx, &owner, new.sealed)?;
            tx.execute(
                "INSERT INTO access_key (id, account_id, principal_id, secret, token_hash, expires_at_ms,
                                         active, created_at_ms)
                   VALUES ($1, $2, $3, $4, $5, $6, 1, $7)",
                params![
                    new.id,
                    account.as_str(),
                    &user.id,
                    sealed,
                    new.token_hash,
                    new.expires_at_ms,
                    tx.now_ms()
                ],
            )?;
            Ok(Made::Made)
        })
        .await
    }

    /// Lets a key be used, or forbids it. False if the account has no such user or the user no such key.
    ///
    /// # Errors
    /// The database's.
    pub async fn set_access_key_active<A: Send + 'static>(
        &self,
        account: &AccountId,
        user_name: &str,
        id: &str,
        is_active: bool,
        change: Change<bool, A>,
    ) -> StoreResult<A> {
        let account = account.clone();
        let [user_name, id] = [user_name, id].map(str::to_owned);
        self.change("store.set_access_key_active", change, move |tx| {
            tx.lock_account(&account)?;
            let Some(user) = find_user(tx, &account, &user_name)? else { return Ok(false) };
            let changed = tx.execute(
                "UPDATE access_key SET active = $3 WHERE principal_id = $1 AND id = $2",
                params![&user.id, id, is_active],
            )?;
            Ok(changed > 0)
        })
        .await
    }

    /// Deletes a key. False if the account has no such user or the user no such key.
    ///
    /// # Errors
    /// The database's.
    pub async fn delete_access_key<A: Send + 'static>(
        &self,
        account: &AccountId,
        user_name: &str,
        id: &str,
        change: Change<bool, A>,
    ) -> StoreResult<A> {
        let account = account.clone();
        let [user_name, id] = [user_name, id].map(str::to_owned);
        self.change("store.delete_access_key", change, move |tx| {
            tx.lock_account(&account)?;
            let Some(user) = find_user(tx, &account, &user_name)? else { return Ok(false) };
            let deleted = tx.execute(
                "DELETE FROM access_key WHERE principal_id = $1 AND id = $2",
                params![&user.id, id],
            )?;
            Ok(deleted > 0)
        })
        .await
    }
}
