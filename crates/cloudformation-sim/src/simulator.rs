//! The simulator itself: state, dispatch, and what tests may look at.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use syncline_seams::Clock;

use crate::events::{self, PutEventView};
use crate::faults::{CallFault, CallFaults, ResourceFaults, RoleFaults};
use crate::query::{Form, Scope};
use crate::refusal::Refusal;
use crate::region::Region;
use crate::settings::Settings;
use crate::sts::{self, AssumedRole, Caller};
use crate::xml::Xml;
use crate::{change_sets, deletion, describe};

const CLOUDFORMATION: (&str, &str) = ("2010-05-15", "http://cloudformation.amazonaws.com/doc/2010-05-15/");
const STS: (&str, &str) = ("2011-06-15", "https://sts.amazonaws.com/doc/2011-06-15/");
const STS_ACTIONS: [&str; 2] = ["AssumeRole", "GetCallerIdentity"];

/// How long an expired session is still known as expired, rather than not at all.
const REMEMBERED_SESSION_MS: i64 = 24 * 3_600_000;

/// The most calls remembered.
const REMEMBERED_CALLS: usize = 10_000;

/// A simulated CloudFormation. Cheap to clone; clones are the same simulator.
#[derive(Debug, Clone)]
pub struct Simulator {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) settings: Settings,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    /// The simulator's time: what the clock has advanced since the beginning. A clock that is set back is a client's
    /// wrong clock; CloudFormation's own goes on.
    pub(crate) now_ms: i64,
    /// The clock at the last look.
    clock_ms: i64,
    /// By account and region.
    pub(crate) regions: BTreeMap<(String, String), Region>,
    /// By access key id.
    pub(crate) sessions: BTreeMap<String, AssumedRole>,
    pub(crate) call_faults: CallFaults,
    pub(crate) resource_faults: ResourceFaults,
    pub(crate) role_faults: RoleFaults,
    pub(crate) executions: Vec<ExecutionView>,
    put: Vec<PutEventView>,
    calls: VecDeque<CallView>,
    /// Calls by action.
    counts: BTreeMap<String, u64>,
}

/// What an operation knows besides its own input.
pub(crate) struct Session<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) faults: &'a ResourceFaults,
    pub(crate) now_ms: i64,
}

/// An ExecuteChangeSet that began an execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutionView {
    /// The stack's ARN.
    pub stack_id: String,
    /// The stack's name.
    pub stack_name: String,
    /// The change set's ARN.
    pub change_set_id: String,
    /// The change set's name.
    pub change_set_name: String,
    /// The `ClientRequestToken`.
    pub token: Option<String>,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: i64,
}

/// A call that was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallView {
    /// The action.
    pub action: String,
    /// The account of the caller.
    pub account: String,
    /// The region the call was signed for.
    pub region: String,
    /// The access key id it was signed with.
    pub access_key: String,
    /// The `StackName` it gave.
    pub stack_name: Option<String>,
    /// The error code it was answered with.
    pub error: Option<String>,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: i64,
}

/// What becomes of a call.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is answered.
    Answer { status: u16, request_id: String, body: String, content_type: &'static str },
    /// Its connection is closed without an answer.
    Drop,
    /// It is never answered.
    Hang,
}

impl Simulator {
    /// A simulator without any stacks.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, settings: Settings) -> Self {
        let now_ms = clock.now_ms();
        let state = State { now_ms, clock_ms: now_ms, ..State::default() };
        Self { inner: Arc::new(Inner { clock, settings, state: Mutex::new(state) }) }
    }

    /// Every ExecuteChangeSet that began an execution, oldest first. A repeated call that was answered without
    /// effect is not among them.
    #[must_use]
    pub fn executions(&self) -> Vec<ExecutionView> {
        self.lock().executions.clone()
    }

    /// Every event that PutEvents took, oldest first.
    #[must_use]
    pub fn put_events(&self) -> Vec<PutEventView> {
        self.lock().put.clone()
    }

    /// The newest 10,000 calls, oldest first.
    #[must_use]
    pub fn calls(&self) -> Vec<CallView> {
        self.lock().calls.iter().cloned().collect()
    }

    /// How many calls there were of each action.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.lock().counts.clone()
    }

    /// The state, with everything done that is due.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.inner.state.lock().unwrap_or_else(PoisonError::into_inner);
        let clock_ms = self.inner.clock.now_ms();
        let inside = &mut *state;
        inside.now_ms += (clock_ms - inside.clock_ms).max(0);
        inside.clock_ms = clock_ms;
        for region in inside.regions.values_mut() {
            region.advance(&self.inner.settings, &inside.resource_faults, inside.now_ms);
        }
        state
    }

    /// Answers one call; `target` is its `X-Amz-Target`, if its protocol has one.
    pub(crate) fn answer(&self, authorization: Option<&str>, target: Option<&str>, body: &[u8]) -> Outcome {
        let of_events = target.and_then(|target| target.strip_prefix(events::TARGET));
        let form = if of_events.is_some() { Form::default() } else { Form::parse(body) };
        let action = of_events.or_else(|| form.get("Action")).unwrap_or_default().to_owned();
        let mut state = self.lock();
        let now_ms = state.now_ms;
        let fault = state.call_faults.of_call(&action);
        let scope = Scope::parse(authorization);
        let caller = scope.as_ref().ok().map(|scope| state.caller(scope, &self.inner.settings, now_ms));
        let fault = match caller {
            Some(Ok(caller)) if state.call_faults.is_beyond_rate(&caller.account, now_ms) => {
                Some(CallFault::Throttle)
            }
            _ => fault,
        };
        let result = match (&fault, &scope) {
            (_, Err(refusal)) => Err(refusal.clone()),
            (Some(fault), Ok(_)) if fault.refusal().is_some() => Err(fault
                .refusal()
                .unwrap_or_else(|| Refusal::new(500, "InternalFailure", "the fault has no error"))),
            (Some(CallFault::HangBefore), _) => Err(Refusal::new(0, "-", "never answered")),
            (Some(CallFault::DropBefore), _) => Err(Refusal::new(0, "-", "connection closed")),
            (_, Ok(scope)) if of_events.is_some() => {
                state.perform_on_events(&self.inner.settings, body, &action, scope, now_ms)
            }
            (_, Ok(scope)) => state.perform(&self.inner.settings, &form, &action, scope, now_ms),
        };
        let error = result.as_ref().err().map(|refusal| refusal.code.clone());
        let scope = scope.unwrap_or_else(|_| Scope {
            access_key: String::new(),
            region: String::new(),
            service: String::new(),
        });
        tracing::debug!(action, region = scope.region, error, "simulated call");
        let account = state.caller(&scope, &self.inner.settings, now_ms).map(|caller| caller.account);
        match state.counts.get_mut(&action) {
            Some(count) => *count += 1,
            None => {
                state.counts.insert(action.clone(), 1);
            }
        }
        state.calls.push_back(CallView {
            action: action.clone(),
            account: account.unwrap_or_default(),
            region: scope.region,
            access_key: scope.access_key,
            stack_name: form.filled("StackName").map(str::to_owned),
            error,
            at_ms: now_ms,
        });
        if state.calls.len() > REMEMBERED_CALLS {
            state.calls.pop_front();
        }
        match fault {
            Some(CallFault::HangBefore | CallFault::HangAfter) => return Outcome::Hang,
            Some(CallFault::DropBefore | CallFault::LoseAnswer) => return Outcome::Drop,
            _ => {}
        }
        let request_id = uuid::Uuid::new_v4().to_string();
        if of_events.is_some() {
            let (status, body) = match result {
                Ok(body) => (200, body),
                Err(refusal) => {
                    let body = serde_json::json!({ "__type": refusal.code, "message": refusal.message });
                    (refusal.status, body.to_string())
                }
            };
            return Outcome::Answer { status, request_id, body, content_type: "application/x-amz-json-1.1" };
        }
        let (_, namespace) = if STS_ACTIONS.contains(&action.as_str()) { STS } else { CLOUDFORMATION };
        let (status, body) = match result {
            Ok(inside) => {
                let mut xml = Xml::default();
                xml.element_with(&format!("{action}Response"), &format!(" xmlns=\"{namespace}\""), |xml| {
                    xml.element(&format!("{action}Result"), |xml| xml.append(&inside));
                    xml.element("ResponseMetadata", |xml| xml.leaf("RequestId", &request_id));
                });
                (200, xml.finish())
            }
            Err(refusal) => (refusal.status, refusal.to_xml(namespace, &request_id)),
        };
        Outcome::Answer { status, request_id, body, content_type: "text/xml" }
    }
}

impl State {
    /// Makes the region if it is not there yet.
    pub(crate) fn region(&mut self, account: &str, region: &str) -> &mut Region {
        self.regions
            .entry((account.to_owned(), region.to_owned()))
            .or_insert_with(|| Region::new(account, region))
    }

    fn caller(&self, scope: &Scope, settings: &Settings, now_ms: i64) -> Result<Caller, Refusal> {
        match self.sessions.get(&scope.access_key) {
            Some(role) if role.expires_ms <= now_ms => Err(Refusal::new(
                403,
                "ExpiredToken",
                "The security token included in the request is expired",
            )),
            Some(role) => Ok(Caller {
                account: role.account.clone(),
                arn: role.arn.clone(),
                user_id: role.role_id.clone(),
            }),
            None if scope.access_key.starts_with("ASIA") => Err(Refusal::new(
                403,
                "InvalidClientTokenId",
                "The security token included in the request is invalid.",
            )),
            None => Ok(Caller {
                account: settings.default_account.clone(),
                arn: format!("arn:aws:iam::{}:user/simulated", settings.default_account),
                user_id: "AIDASIMULATED".to_owned(),
            }),
        }
    }

    /// Carries out a call of EventBridge's; what it is answered, in JSON.
    fn perform_on_events(
        &mut self,
        settings: &Settings,
        body: &[u8],
        action: &str,
        scope: &Scope,
        now_ms: i64,
    ) -> Result<String, Refusal> {
        if scope.service != "events" || action != "PutEvents" {
            let message = format!("this simulated EventBridge has no action '{action}' of {}", scope.service);
            return Err(Refusal::new(400, "UnknownOperationException", message));
        }
        let caller = self.caller(scope, settings, now_ms)?;
        let (answer, taken) = events::put(body, &caller, scope, now_ms)?;
        self.put.extend(taken);
        Ok(answer.to_string())
    }

    /// Carries out a call; the inside of its result element.
    fn perform(
        &mut self,
        settings: &Settings,
        form: &Form,
        action: &str,
        scope: &Scope,
        now_ms: i64,
    ) -> Result<String, Refusal> {
        let is_sts = STS_ACTIONS.contains(&action);
        let (service, version) = if is_sts { ("sts", STS.0) } else { ("cloudformation", CLOUDFORMATION.0) };
        if scope.service != service {
            return Err(Refusal::new(
                403,
                "SignatureDoesNotMatch",
                format!("Credential should be scoped to correct service: '{service}'."),
            ));
        }
        if form.get("Version") != Some(version) {
            let given = form.get("Version").unwrap_or_default();
            return Err(Refusal::new(
                400,
                "InvalidAction",
                format!("Could not find operation {action} for version {given}"),
            ));
        }
        let caller = self.caller(scope, settings, now_ms)?;
        let mut xml = Xml::default();
        if is_sts {
            if action == "GetCallerIdentity" {
                sts::get_caller_identity(&caller, &mut xml);
            } else {
                let (key, holder) = sts::assume_role(form, &self.role_faults, &caller, now_ms, &mut xml)?;
                self.sessions.retain(|_, role| role.expires_ms > now_ms - REMEMBERED_SESSION_MS);
                self.sessions.insert(key, holder);
            }
            return Ok(xml.finish());
        }
        let key = (caller.account.clone(), scope.region.clone());
        let region = self.regions.entry(key).or_insert_with(|| Region::new(&caller.account, &scope.region));
        let session = Session { settings, faults: &self.resource_faults, now_ms };
        match action {
            "CreateChangeSet" => change_sets::create(region, form, &session, &mut xml)?,
            "CreateStack" => change_sets::at_once(region, form, &session, "CREATE", &mut xml)?,
            "UpdateStack" => change_sets::at_once(region, form, &session, "UPDATE", &mut xml)?,
            "DescribeChangeSet" => describe::change_set(region, form, &session, &mut xml)?,
            "ExecuteChangeSet" => {
                let accepted = change_sets::execute(region, form, &session)?;
                self.executions.extend(accepted);
            }
            "DeleteChangeSet" => change_sets::delete(region, form, &session)?,
            "ListChangeSets" => describe::change_sets(region, form, &session, &mut xml)?,
            "DescribeStacks" => describe::stacks(region, form, &session, &mut xml)?,
            "ListStacks" => describe::list_stacks(region, form, &session, &mut xml)?,
            "DescribeStackEvents" => describe::stack_events(region, form, &session, &mut xml)?,
            "DescribeStackResources" => describe::stack_resources(region, form, &mut xml)?,
            "GetTemplate" => describe::get_template(region, form, &mut xml)?,
            "GetTemplateSummary" => describe::template_summary(region, form, &mut xml)?,
            "ValidateTemplate" => describe::validate_template(form, &mut xml)?,
            "DeleteStack" => deletion::delete_stack(region, form, &session)?,
            "ContinueUpdateRollback" => deletion::continue_update_rollback(region, form, &session)?,
            _ => {
                return Err(Refusal::new(
                    400,
                    "InvalidAction",
                    format!("this simulated CloudFormation has no action '{action}'"),
                ));
            }
        }
        Ok(xml.finish())
    }
}

impl CallFault {
    fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Throttle => Some(Refusal::new(400, "Throttling", "Rate exceeded")),
            Self::InternalFailure => {
                Some(Refusal::new(500, "InternalFailure", "An internal error occurred (simulated)."))
            }
            Self::AccessDenied => Some(Refusal::new(
                403,
                "AccessDenied",
                "User is not authorized to perform this action (simulated).",
            )),
            Self::Refuse { status, code, message } => Some(Refusal::new(*status, code, message.clone())),
            Self::HangBefore | Self::HangAfter | Self::DropBefore | Self::LoseAnswer => None,
        }
    }
}
