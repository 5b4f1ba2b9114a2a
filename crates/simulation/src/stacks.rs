//! The simulated CloudFormation as a worker's target: the simulator's rules, without HTTP.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use syncline_cloudformation_sim::{Direct, Refused};
use syncline_targets::{
    Access, Answer, BusEvent, Change, ChangeSet, ChangeSetKind, ChangeSetRef, ChangeSetRequest, Declared,
    EventBus, Execution, Gathering, InProgress, Listings, Stack, StackEvent, Target, TargetError, refusal,
};

use crate::clock::pass;
use crate::faults::Caller;
use crate::files::{self, Flavour};
use crate::oracle::Oracle;
use crate::world::{self, World};

/// Who we are to AWS.
const PRINCIPAL: &str = "arn:aws:iam::999999999999:role/syncline";
/// In one of so many times, somebody else is faster than a change set.
const OVERTAKEN: u32 = 30;
/// How long before its end a session is renewed, in milliseconds.
const RENEW_BEFORE_MS: i64 = 300_000;

/// A session of a role: which count of sessions it is of, and its end.
type Session = (u64, i64);

/// CloudFormation as one worker meets it.
pub(crate) struct SimulatedCloudFormation {
    caller: Caller,
    oracle: Arc<Oracle>,
    listings: Listings,
    /// By role and external id.
    sessions: Mutex<BTreeMap<(String, String), Session>>,
}

impl std::fmt::Debug for SimulatedCloudFormation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SimulatedCloudFormation")
    }
}

/// A refusal of one of the actions, as the worker is told it.
fn told(action: &str, refused: &Refused) -> TargetError {
    refusal(action, refused.status, &refused.code, &refused.message, None).unwrap_or(TargetError::NotFound)
}

fn answered(action: &str, status: u16, code: &str, message: &str) -> TargetError {
    told(action, &Refused { status, code: code.to_owned(), message: message.to_owned() })
}

impl SimulatedCloudFormation {
    pub(crate) fn new(caller: Caller, oracle: Arc<Oracle>) -> Self {
        let listings = Listings::new(Arc::new(caller.world.clock.clone()));
        Self { caller, oracle, listings, sessions: Mutex::default() }
    }

    fn world(&self) -> &Arc<World> {
        &self.caller.world
    }

    /// Somebody else may change the stack before a change set of ours is executed, which is then of no use.
    fn overtake(&self, access: &Access, stack: &str) {
        let world = Arc::clone(self.world());
        if !world.is_on() || world.dice(|dice| dice.u32(..OVERTAKEN)) > 0 {
            return;
        }
        let after_ms = world.dice(|dice| dice.u64(..200));
        let place = (access.role.account().to_string(), access.region.to_string(), stack.to_owned());
        tokio::spawn(async move {
            pass(after_ms).await;
            let (account, region, stack) = place;
            let found = world.simulator.stack(&account, &region, &stack);
            if found.is_some_and(|found| found.status.ends_with("_COMPLETE")) {
                world.count_fault();
                world.touch(&stack);
                world.tell(|| format!("somebody else is faster with {stack}"));
                let template = files::template(Flavour::Extra, 8);
                world.simulator.faults().modify_stack(&account, &region, &stack, &template);
            }
        });
    }

    /// A session of the role, assumed if there is none that lasts.
    async fn session(&self, access: &Access) -> Result<Session, TargetError> {
        let key = (access.role.as_str().to_owned(), access.external_id.clone());
        let kept = self.sessions.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied();
        if let Some(session) = kept
            && self.world().simulator.now_ms() + RENEW_BEFORE_MS < session.1
        {
            return Ok(session);
        }
        let (world, access) = (Arc::clone(self.world()), access.clone());
        let assume = move || {
            let assumed = world.simulator.assume_role(access.role.as_str(), &access.external_id);
            let ends = assumed.map_err(|refused| {
                refusal("AssumeRole", refused.status, &refused.code, &refused.message, Some(&access.role))
                    .unwrap_or(TargetError::NotFound)
            })?;
            Ok::<_, TargetError>((world.sessions(), ends))
        };
        let session = self.caller.call("sts.AssumeRole", assume).await?;
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).insert(key, session);
        Ok(session)
    }

    /// One call as the role.
    async fn call<T: Send + 'static>(
        &self,
        access: &Access,
        point: &'static str,
        effect: impl Fn(&Direct) -> Result<T, Refused> + Send + Sync + 'static,
    ) -> Result<T, TargetError> {
        let session = self.session(access).await?;
        if access.role.account() != &access.account {
            self.world().violation(format!("account {} uses {}", access.account, access.role));
        }
        let action = point.rsplit('.').next().unwrap_or_default();
        let direct = self.world().simulator.direct(access.role.account().as_str(), access.region.as_str());
        let world = Arc::clone(self.world());
        let answer = self
            .caller
            .call(point, move || {
                if session.0 < world.sessions() || session.1 <= world.simulator.now_ms() {
                    return Err(answered(action, 403, "ExpiredToken", "The security token is expired"));
                }
                match world.cloudformation() {
                    None => effect(&direct).map_err(|refused| told(action, &refused)),
                    Some(world::Answer::Throttling) => {
                        Err(answered(action, 400, "Throttling", "Rate exceeded"))
                    }
                    Some(world::Answer::Failure) => Err(answered(action, 500, "InternalFailure", "sorry")),
                    Some(world::Answer::Denied) => Err(answered(action, 403, "AccessDenied", "not allowed")),
                }
            })
            .await;
        if let Err(TargetError::Unavailable { code, .. }) = &answer
            && code == "ExpiredToken"
        {
            let key = (access.role.as_str().to_owned(), access.external_id.clone());
            self.sessions.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        }
        answer
    }
}

impl EventBus for SimulatedCloudFormation {
    // No history has notification targets.
    fn put_event<'a>(&'a self, _: &'a Access, _: &'a BusEvent) -> Answer<'a, String> {
        Box::pin(std::future::ready(Err(TargetError::NotFound)))
    }
}

impl Target for SimulatedCloudFormation {
    fn principal(&self) -> Answer<'_, String> {
        Box::pin(async { Ok(PRINCIPAL.to_owned()) })
    }

    fn describe_stack<'a>(&'a self, access: &'a Access, stack: &'a str) -> Answer<'a, Option<Stack>> {
        let name = stack.to_owned();
        Box::pin(async move {
            let described = self
                .call(access, "cloudformation.DescribeStacks", move |direct| direct.describe_stack(&name))
                .await;
            match described {
                Ok(stack) => Ok(Some(Stack {
                    id: stack.id,
                    name: stack.name,
                    status: stack.status.as_str().into(),
                    status_reason: stack.reason,
                    change_set_arn: stack.change_set_id,
                    created_ms: Some(stack.created_ms),
                    updated_ms: stack.updated_ms,
                })),
                Err(TargetError::NotFound) => Ok(None),
                Err(error) => Err(error),
            }
        })
    }

    fn in_progress<'a>(
        &'a self,
        access: &'a Access,
        stack_id: &'a str,
        asked_ms: i64,
    ) -> Answer<'a, Option<InProgress>> {
        Box::pin(async move {
            let list = async {
                let listed =
                    self.call(access, "cloudformation.ListStacks", Direct::stacks_in_progress).await?;
                let seen = listed.into_iter().map(|(id, status, updated_ms)| {
                    (id, InProgress { status: status.as_str().into(), updated_ms })
                });
                Ok(Arc::new(seen.collect::<HashMap<_, _>>()))
            };
            let listed = self.listings.since(access, asked_ms, list).await?;
            Ok(listed.get(stack_id).cloned())
        })
    }

    fn create_change_set<'a>(
        &'a self,
        access: &'a Access,
        request: &'a ChangeSetRequest,
    ) -> Answer<'a, ChangeSetRef> {
        Box::pin(async move {
            self.oracle.planning(access, &request.name);
            let mut fields: Vec<(String, String)> = [
                ("StackName", &*request.stack),
                ("ChangeSetName", &*request.name),
                ("ClientToken", &*request.token),
                ("TemplateBody", &*request.template_body),
                ("Capabilities.member.1", "CAPABILITY_IAM"),
                ("Capabilities.member.2", "CAPABILITY_NAMED_IAM"),
                ("Capabilities.member.3", "CAPABILITY_AUTO_EXPAND"),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .to_vec();
            let mut add = |key: String, value: &str| fields.push((key, value.to_owned()));
            match request.kind {
                ChangeSetKind::Create => {
                    add("ChangeSetType".to_owned(), "CREATE");
                    add("OnStackFailure".to_owned(), "DELETE");
                }
                ChangeSetKind::Update => add("ChangeSetType".to_owned(), "UPDATE"),
            }
            for (n, (key, value)) in request.parameters.iter().enumerate() {
                add(format!("Parameters.member.{}.ParameterKey", n + 1), key);
                add(format!("Parameters.member.{}.ParameterValue", n + 1), value);
            }
            match request.tags.as_deref() {
                None => {}
                Some([]) => add("Tags".to_owned(), ""),
                Some(tags) => {
                    for (n, (key, value)) in tags.iter().enumerate() {
                        add(format!("Tags.member.{}.Key", n + 1), key);
                        add(format!("Tags.member.{}.Value", n + 1), value);
                    }
                }
            }
            let create = move |direct: &Direct| {
                let fields: Vec<_> =
                    fields.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
                direct.create_change_set(&fields)
            };
            let (change_set_arn, stack_id) =
                self.call(access, "cloudformation.CreateChangeSet", create).await?;
            self.overtake(access, &request.stack);
            Ok(ChangeSetRef { change_set_arn, stack_id })
        })
    }

    fn describe_change_set<'a>(
        &'a self,
        access: &'a Access,
        stack: &'a str,
        name_or_arn: &'a str,
    ) -> Answer<'a, ChangeSet> {
        let (stack, name) = (stack.to_owned(), name_or_arn.to_owned());
        Box::pin(async move {
            let describe = move |direct: &Direct| direct.describe_change_set(&stack, &name);
            let seen = self.call(access, "cloudformation.DescribeChangeSet", describe).await?;
            let change = |(action, logical_id, resource_type): (String, String, String)| Change {
                action: action.as_str().into(),
                logical_id,
                physical_id: None,
                resource_type,
                replacement: None,
                scope: Vec::new(),
                policy_action: None,
                details: Vec::new(),
            };
            Ok(ChangeSet {
                arn: seen.id,
                stack_id: seen.stack_id,
                status: seen.status.as_str().into(),
                status_reason: seen.reason,
                execution_status: seen.execution_status.as_str().into(),
                changes: seen.changes.into_iter().map(change).collect(),
                created_ms: Some(seen.created_ms),
            })
        })
    }

    fn describe_changes<'a>(
        &'a self,
        access: &'a Access,
        stack: &'a str,
        name_or_arn: &'a str,
    ) -> Answer<'a, ChangeSet> {
        self.describe_change_set(access, stack, name_or_arn)
    }

    // No history has pull requests.
    fn declared<'a>(&'a self, _: &'a Access, _: &'a str) -> Answer<'a, Declared> {
        Box::pin(std::future::ready(Err(TargetError::NotFound)))
    }

    fn delete_change_set<'a>(
        &'a self,
        access: &'a Access,
        stack: &'a str,
        name_or_arn: &'a str,
    ) -> Answer<'a, ()> {
        let (stack, name) = (stack.to_owned(), name_or_arn.to_owned());
        Box::pin(async move {
            let delete = move |direct: &Direct| direct.delete_change_set(&stack, &name);
            match self.call(access, "cloudformation.DeleteChangeSet", delete).await {
                Err(TargetError::NotFound) => Ok(()),
                deleted => deleted,
            }
        })
    }

    fn execute_change_set<'a>(
        &'a self,
        access: &'a Access,
        change_set: &'a ChangeSetRef,
        token: &'a str,
    ) -> Answer<'a, ()> {
        Box::pin(async move {
            self.oracle.executing(access, token);
            let (change_set, token) = (change_set.clone(), token.to_owned());
            let execute = move |direct: &Direct| {
                direct.execute_change_set(&change_set.stack_id, &change_set.change_set_arn, &token)
            };
            self.call(access, "cloudformation.ExecuteChangeSet", execute).await
        })
    }

    fn stack_events<'a>(
        &'a self,
        access: &'a Access,
        stack_id: &'a str,
        since: Option<&'a str>,
        of: Option<Execution<'a>>,
    ) -> Answer<'a, Vec<StackEvent>> {
        Box::pin(async move {
            let (stack, since) = (stack_id.to_owned(), since.map(str::to_owned));
            let of = of.map(|of| (of.token.to_owned(), of.change_set_created_ms));
            let look = move |direct: &Direct| {
                let of = of.as_ref().map(|(token, change_set_created_ms)| Execution {
                    token,
                    change_set_created_ms: *change_set_created_ms,
                });
                let mut events = Gathering::new(&stack, since.as_deref(), of);
                direct.stack_events(&stack, |event| {
                    let goes_on = events.take(StackEvent {
                        id: event.id.to_owned(),
                        time_ms: event.at_ms,
                        logical_id: event.logical_id.to_owned(),
                        physical_id: Some(event.physical_id.to_owned()).filter(|id| !id.is_empty()),
                        resource_type: event.kind.to_owned(),
                        status: event.status.to_owned(),
                        reason: event.reason.map(str::to_owned),
                        client_request_token: event.token.map(str::to_owned),
                    });
                    if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
                })?;
                Ok(events.gathered())
            };
            self.call(access, "cloudformation.DescribeStackEvents", look).await
        })
    }
}
