//! The operations on change sets.

use crate::engine::{Kind, Operation};
use crate::plan::plan;
use crate::query::Form;
use crate::refusal::Refusal;
use crate::region::Region;
use crate::simulator::{ExecutionView, Session};
use crate::stack::{ChangeSet, ChangeSetType, Deployment, Execution, OnStackFailure, Stack};
use crate::template::{GivenParameter, Template, missing_capabilities, resolve_parameters};
use crate::xml::Xml;

const NO_CHANGES: &str =
    "The submitted information didn't contain changes. Submit different information to create a change set.";
const NO_UPDATES: &str = "No updates are to be performed.";
const CAPABILITIES: [&str; 3] = ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"];

/// CreateChangeSet.
pub(crate) fn create(
    region: &mut Region,
    form: &Form,
    session: &Session<'_>,
    xml: &mut Xml,
) -> Result<(), Refusal> {
    let stack_name = form.required("StackName")?;
    let name = form.required("ChangeSetName")?;
    check_name("changeSetName", name, 128)?;
    check_stack_name(stack_name)?;
    let kind = match form.filled("ChangeSetType").unwrap_or("UPDATE") {
        "CREATE" => ChangeSetType::Create,
        "UPDATE" => ChangeSetType::Update,
        "IMPORT" => {
            return Err(Refusal::validation("this simulated CloudFormation does not import resources"));
        }
        other => return Err(not_in_enum("changeSetType", other, "CREATE, UPDATE, IMPORT")),
    };
    let on_stack_failure = match form.filled("OnStackFailure") {
        None => None,
        Some("DO_NOTHING") => Some(OnStackFailure::DoNothing),
        Some("ROLLBACK") => Some(OnStackFailure::Rollback),
        Some("DELETE") if kind == ChangeSetType::Create => Some(OnStackFailure::Delete),
        Some("DELETE") => {
            return Err(Refusal::validation(
                "OnStackFailure DELETE is only valid when ChangeSetType is CREATE.",
            ));
        }
        Some(other) => return Err(not_in_enum("onStackFailure", other, "DELETE, DO_NOTHING, ROLLBACK")),
    };
    let found = region.find(stack_name);
    let existing = found.map(|index| &region.stacks[index]);
    let client_token = form.filled("ClientToken").map(str::to_owned);
    if let Some(stack) = existing
        && let Some(other) = stack.change_sets.iter().find(|other| other.name == name)
    {
        return repeated(stack, other, form, client_token.as_deref(), xml);
    }
    match (kind, existing) {
        (ChangeSetType::Create, Some(stack)) if stack.status != "REVIEW_IN_PROGRESS" => {
            return Err(Refusal::validation(format!(
                "Stack [{stack_name}] already exists and cannot be created again with the changeSet [{name}]."
            )));
        }
        (ChangeSetType::Create, None) if stack_name.starts_with("arn:") => {
            return Err(Refusal::validation(format!("Stack [{stack_name}] does not exist")));
        }
        (ChangeSetType::Update, None) => {
            return Err(Refusal::validation(format!("Stack [{stack_name}] does not exist")));
        }
        (ChangeSetType::Update, Some(stack)) if !stack.is_updatable() => {
            return Err(cannot_be_updated(stack));
        }
        _ => {}
    }
    let deployment = deployment(form, existing)?;
    let fresh = existing.is_none();
    let index = found.unwrap_or_else(|| {
        let place = region.place(stack_name);
        region.add(Stack::under_review(place, session.now_ms))
    });
    let exports = region.exports().into_iter().map(|(name, (value, _))| (name, value)).collect();
    let changes = match plan(&region.stacks[index], &deployment, &exports) {
        Ok(changes) => changes,
        Err(refusal) => {
            if fresh {
                region.take_back();
            }
            return Err(refusal);
        }
    };
    let on_demand = session.faults.change_set_failure(&region.stacks[index].place.stack_name);
    let failure = match &changes {
        _ if on_demand.is_some() => on_demand,
        _ if runs_macros(&deployment.template) => {
            let names = deployment.template.transforms.join(", ");
            Some(format!("Transform {names} failed with: this simulated CloudFormation runs no macros."))
        }
        None if deployment.template.transforms.is_empty() => Some(NO_CHANGES.to_owned()),
        None => Some(NO_UPDATES.to_owned()),
        Some(_) => None,
    };
    let id = region.change_set_arn(name);
    let latency = i64::try_from(session.settings.change_set_latency.as_millis()).unwrap_or(i64::MAX);
    region.note_change_set(&id, index);
    let stack = &mut region.stacks[index];
    stack.change_sets.push(ChangeSet {
        id: id.clone(),
        name: name.to_owned(),
        description: form.get("Description").map(str::to_owned),
        kind,
        created_ms: session.now_ms,
        ready_ms: session.now_ms.saturating_add(latency),
        failure,
        execution: Execution::Available,
        deployment,
        changes: changes.unwrap_or_default(),
        on_stack_failure,
        client_token,
        execute_token: None,
    });
    xml.leaf("Id", &id);
    xml.leaf("StackId", &stack.place.stack_id);
    Ok(())
}

/// Whether the template calls a macro that the simulator cannot stand in for.
fn runs_macros(template: &Template) -> bool {
    template.transforms.iter().any(|name| name != "AWS::LanguageExtensions")
}

/// A change set of this name exists: the same request again is answered as the first was.
fn repeated(
    stack: &Stack,
    other: &ChangeSet,
    form: &Form,
    client_token: Option<&str>,
    xml: &mut Xml,
) -> Result<(), Refusal> {
    let mismatch = if other.client_token.as_deref() != client_token || client_token.is_none() {
        Some("ClientToken")
    } else if form.filled("TemplateBody").is_some_and(|body| body != other.deployment.template.body) {
        Some("Template")
    } else if given_parameters(form)?.iter().any(|given| {
        given.value.as_ref() != other.deployment.parameters.get(&given.key).map(|value| &value.text)
            && !given.use_previous
    }) {
        Some("Parameters")
    } else if tags_of(form)?.is_some_and(|tags| tags != other.deployment.tags) {
        Some("Tags")
    } else {
        None
    };
    if let Some(attribute) = mismatch {
        return Err(Refusal::new(
            400,
            "AlreadyExistsException",
            format!(
                "ChangeSet {} cannot be created due to a mismatch with existing attribute {attribute}",
                other.name
            ),
        ));
    }
    xml.leaf("Id", &other.id);
    xml.leaf("StackId", &stack.place.stack_id);
    Ok(())
}

/// Reads what the stack is to be made from.
pub(crate) fn deployment(form: &Form, existing: Option<&Stack>) -> Result<Deployment, Refusal> {
    let before = existing.and_then(|stack| stack.deployment.as_ref());
    let template = template_of(form, before)?;
    let capabilities = form.strings("Capabilities").unwrap_or_default();
    if let Some(unknown) = capabilities.iter().find(|name| !CAPABILITIES.contains(&name.as_str())) {
        return Err(not_in_enum("capabilities", unknown, &CAPABILITIES.join(", ")));
    }
    let no_values = std::collections::BTreeMap::new();
    let previous = before.map_or(&no_values, |before| &before.parameters);
    let parameters = resolve_parameters(&template.parameters, &given_parameters(form)?, previous)?;
    let missing = missing_capabilities(&template, &capabilities);
    if !missing.is_empty() {
        return Err(Refusal::new(
            400,
            "InsufficientCapabilitiesException",
            format!("Requires capabilities : [{}]", missing.join(", ")),
        ));
    }
    let tags = match tags_of(form)? {
        Some(tags) => tags,
        None => before.map(|before| before.tags.clone()).unwrap_or_default(),
    };
    Ok(Deployment {
        template,
        parameters,
        tags,
        capabilities,
        role_arn: match form.filled("RoleARN") {
            Some(role) => Some(role.to_owned()),
            None => before.and_then(|before| before.role_arn.clone()),
        },
        notification_arns: form.strings("NotificationARNs").unwrap_or_default(),
    })
}

/// Reads the template of a request.
pub(crate) fn template_of(form: &Form, before: Option<&Deployment>) -> Result<Template, Refusal> {
    if form.filled("TemplateURL").is_some() {
        return Err(Refusal::validation(
            "TemplateURL must be a supported URL. (This simulated CloudFormation has no S3: send TemplateBody.)",
        ));
    }
    match (form.filled("TemplateBody"), form.flag("UsePreviousTemplate"), before) {
        (Some(_), true, _) => Err(Refusal::validation(
            "You cannot specify both usePreviousTemplate and Template Body/Template URL.",
        )),
        (Some(body), false, _) => Template::parse(body),
        (None, true, Some(before)) => Ok(before.template.clone()),
        (None, _, _) => Err(Refusal::validation("Either Template URL or Template Body must be specified.")),
    }
}

fn given_parameters(form: &Form) -> Result<Vec<GivenParameter>, Refusal> {
    let given = form.structures("Parameters").unwrap_or_default();
    given
        .iter()
        .map(|parameter| {
            Ok(GivenParameter {
                key: parameter.required("ParameterKey")?.to_owned(),
                value: parameter.get("ParameterValue").map(str::to_owned),
                use_previous: parameter.flag("UsePreviousValue"),
            })
        })
        .collect()
}

fn tags_of(form: &Form) -> Result<Option<Vec<(String, String)>>, Refusal> {
    let Some(given) = form.structures("Tags") else { return Ok(None) };
    if given.len() > 50 {
        return Err(Refusal::validation(format!(
            "1 validation error detected: Value at 'tags' failed to satisfy constraint: Member must have length less than or equal to 50 ({} were given)",
            given.len()
        )));
    }
    let mut tags: Vec<(String, String)> = Vec::new();
    for tag in &given {
        let key = tag.required("Key")?;
        let value = tag.get("Value").unwrap_or_default();
        if key.chars().count() > 128 || value.chars().count() > 256 {
            return Err(Refusal::validation(format!(
                "Tag '{key}' is too long: keys have at most 128 characters, values 256"
            )));
        }
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(Refusal::validation(format!(
                "Tag keys that begin with 'aws:' are reserved: '{key}'"
            )));
        }
        if tags.iter().any(|(other, _)| other == key) {
            return Err(Refusal::validation(format!("Duplicate tag key '{key}'")));
        }
        tags.push((key.to_owned(), value.to_owned()));
    }
    Ok(Some(tags))
}

fn cannot_be_updated(stack: &Stack) -> Refusal {
    Refusal::validation(format!(
        "Stack:{} is in {} state and can not be updated.",
        stack.place.stack_id, stack.status
    ))
}

fn not_in_enum(member: &str, value: &str, allowed: &str) -> Refusal {
    Refusal::validation(format!(
        "1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: Member must satisfy enum value set: [{allowed}]"
    ))
}

fn check_name(member: &str, name: &str, longest: usize) -> Result<(), Refusal> {
    let valid = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !valid {
        return Err(Refusal::validation(format!(
            "1 validation error detected: Value '{name}' at '{member}' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z][-a-zA-Z0-9]*"
        )));
    }
    if name.len() > longest {
        return Err(Refusal::validation(format!(
            "1 validation error detected: Value '{name}' at '{member}' failed to satisfy constraint: Member must have length less than or equal to {longest}"
        )));
    }
    Ok(())
}

fn check_stack_name(name: &str) -> Result<(), Refusal> {
    if name.starts_with("arn:") {
        return Ok(());
    }
    check_name("stackName", name, 128).map_err(|refusal| {
        Refusal::validation(
            refusal.message.replace("[a-zA-Z][-a-zA-Z0-9]*", "[a-zA-Z][-a-zA-Z0-9]*|arn:[-a-zA-Z0-9:/._+]*"),
        )
    })
}

/// Where a change set is: its stack's and its own index.
pub(crate) fn locate(region: &Region, form: &Form) -> Result<(usize, usize), Refusal> {
    let name = form.required("ChangeSetName")?;
    let not_found = || Refusal::new(404, "ChangeSetNotFound", format!("ChangeSet [{name}] does not exist"));
    if name.starts_with("arn:") {
        let place = region.find_of_change_set(name);
        let change_set = |s: usize| region.stacks[s].change_sets.iter().position(|c| c.id == name);
        return place.and_then(|s| Some((s, change_set(s)?))).ok_or_else(not_found);
    }
    let Some(stack_name) = form.filled("StackName") else {
        return Err(Refusal::validation(
            "StackName must be specified if ChangeSetName is not specified as an ARN.",
        ));
    };
    let Some(index) = region.find(stack_name) else {
        return Err(Refusal::validation(format!("Stack [{stack_name}] does not exist")));
    };
    let change_sets = &region.stacks[index].change_sets;
    change_sets.iter().position(|c| c.name == name).map(|c| (index, c)).ok_or_else(not_found)
}

/// ExecuteChangeSet. Answers whether this call began an execution, which a repeated one does not.
pub(crate) fn execute(
    region: &mut Region,
    form: &Form,
    session: &Session<'_>,
) -> Result<Option<ExecutionView>, Refusal> {
    let (s, c) = locate(region, form)?;
    let token = form.filled("ClientRequestToken").map(str::to_owned);
    let stack = &mut region.stacks[s];
    let change_set = &stack.change_sets[c];
    if let Some(token) = &token
        && let Some(used_for) = stack.tokens.get(token)
    {
        if *used_for == change_set.id {
            return Ok(None);
        }
        return Err(Refusal::new(
            400,
            "TokenAlreadyExistsException",
            format!("ClientRequestToken {token} has already been used for another operation on the stack"),
        ));
    }
    let status = change_set.status(session.now_ms);
    let execution = change_set.execution_status(session.now_ms);
    let refuse = |what: String| Err(Refusal::new(400, "InvalidChangeSetStatus", what));
    if status != "CREATE_COMPLETE" {
        return refuse(format!(
            "ChangeSet [{}] cannot be executed in its current status of [{status}]",
            change_set.id
        ));
    }
    if execution != "AVAILABLE" {
        return refuse(format!(
            "ChangeSet [{}] cannot be executed in its current execution status of [{execution}]",
            change_set.id
        ));
    }
    let creates = change_set.kind == ChangeSetType::Create;
    if (creates && stack.status != "REVIEW_IN_PROGRESS") || (!creates && !stack.is_updatable()) {
        return Err(cannot_be_updated(stack));
    }
    if change_set.on_stack_failure.is_some() && form.get("DisableRollback").is_some() {
        return Err(Refusal::validation("You cannot specify both OnStackFailure and DisableRollback."));
    }
    let on_failure = match change_set.on_stack_failure {
        Some(on_failure) => on_failure,
        None if form.flag("DisableRollback") => OnStackFailure::DoNothing,
        None => OnStackFailure::Rollback,
    };
    let kind = match creates {
        true => Kind::Create(on_failure),
        false => Kind::Update { disable_rollback: on_failure == OnStackFailure::DoNothing },
    };
    let operation = Operation::new(kind, change_set.deployment.clone(), token.clone());
    let id = change_set.id.clone();
    let accepted = ExecutionView {
        stack_id: stack.place.stack_id.clone(),
        stack_name: stack.place.stack_name.clone(),
        change_set_id: id.clone(),
        change_set_name: change_set.name.clone(),
        token: token.clone(),
        at_ms: session.now_ms,
    };
    // Executing one deletes the others: they were made for a stack that is no more.
    stack.change_sets.retain(|other| other.id == id || other.execution != Execution::Available);
    if let Some(change_set) = stack.change_sets.iter_mut().find(|other| other.id == id) {
        change_set.execution = Execution::InProgress;
        change_set.execute_token.clone_from(&token);
    }
    if let Some(token) = &token {
        stack.tokens.insert(token.clone(), id.clone());
    }
    stack.change_set_id = Some(id);
    stack.disable_rollback = on_failure == OnStackFailure::DoNothing;
    stack.updated_ms = Some(session.now_ms);
    let status = if creates { "CREATE_IN_PROGRESS" } else { "UPDATE_IN_PROGRESS" };
    stack.turn(status, Some("User Initiated"), session.now_ms, token.as_deref());
    region.begin(s, operation, session.settings, session.faults, session.now_ms);
    Ok(Some(accepted))
}

/// CreateStack and UpdateStack, which other people's tools call: a change set that is made and executed at once.
pub(crate) fn at_once(
    region: &mut Region,
    form: &Form,
    session: &Session<'_>,
    kind: &str,
    xml: &mut Xml,
) -> Result<(), Refusal> {
    let name = form.required("StackName")?;
    if kind == "CREATE" && region.find(name).is_some() {
        return Err(Refusal::new(400, "AlreadyExistsException", format!("Stack [{name}] already exists")));
    }
    let number = region.find(name).map_or(0, |index| region.stacks[index].events.len());
    let planned = form.with("ChangeSetName", &format!("direct-{number}")).with("ChangeSetType", kind);
    create(region, &planned, session, &mut Xml::default())?;
    let (s, c) = locate(region, &planned)?;
    let stack = &mut region.stacks[s];
    stack.change_sets[c].ready_ms = session.now_ms;
    if stack.change_sets[c].failure.is_some() {
        let failed = stack.change_sets.remove(c);
        let reason = failed.failure.filter(|reason| reason != NO_CHANGES);
        return Err(Refusal::validation(reason.unwrap_or_else(|| NO_UPDATES.to_owned())));
    }
    let stack_id = stack.place.stack_id.clone();
    execute(region, &planned, session)?;
    xml.leaf("StackId", &stack_id);
    Ok(())
}

/// DeleteChangeSet. Deleting one that is not there succeeds, as long as its stack is.
pub(crate) fn delete(region: &mut Region, form: &Form, session: &Session<'_>) -> Result<(), Refusal> {
    match locate(region, form) {
        Ok((s, c)) => {
            let change_set = &region.stacks[s].change_sets[c];
            let execution = change_set.execution_status(session.now_ms);
            if execution == "EXECUTE_IN_PROGRESS" {
                return Err(Refusal::new(
                    400,
                    "InvalidChangeSetStatus",
                    format!(
                        "ChangeSet [{}] cannot be deleted in its current execution status of [{execution}]",
                        change_set.id
                    ),
                ));
            }
            region.stacks[s].change_sets.remove(c);
            Ok(())
        }
        Err(refusal) if refusal.code == "ChangeSetNotFound" => Ok(()),
        Err(refusal) => Err(refusal),
    }
}
