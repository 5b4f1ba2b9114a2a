//! The operations that only read.

use crate::change_sets;
use crate::query::Form;
use crate::refusal::Refusal;
use crate::region::Region;
use crate::simulator::Session;
use crate::stack::{Deployment, OnStackFailure, ResourceRecord, Stack};
use crate::template::Template;
use crate::time::iso8601;
use crate::xml::Xml;

const HIDDEN: &str = "****";

/// DescribeChangeSet.
pub(crate) fn change_set(
    region: &Region,
    form: &Form,
    session: &Session<'_>,
    xml: &mut Xml,
) -> Result<(), Refusal> {
    let (s, c) = change_sets::locate(region, form)?;
    let stack = &region.stacks[s];
    let change_set = &stack.change_sets[c];
    let status = change_set.status(session.now_ms);
    xml.leaf("ChangeSetName", &change_set.name);
    xml.leaf("ChangeSetId", &change_set.id);
    xml.leaf("StackId", &stack.place.stack_id);
    xml.leaf("StackName", &stack.place.stack_name);
    xml.optional("Description", change_set.description.as_deref());
    parameters(&change_set.deployment, xml);
    xml.leaf("CreationTime", &iso8601(change_set.created_ms));
    xml.leaf("ExecutionStatus", change_set.execution_status(session.now_ms));
    xml.leaf("Status", status);
    if status == "FAILED" {
        xml.optional("StatusReason", change_set.failure.as_deref());
    }
    xml.strings("NotificationARNs", &change_set.deployment.notification_arns);
    xml.element("RollbackConfiguration", |_| {});
    xml.strings("Capabilities", &change_set.deployment.capabilities);
    tags(&change_set.deployment.tags, xml);
    let page = Page::of(form, session, change_set.changes.len())?;
    let ready = matches!(status, "CREATE_COMPLETE" | "FAILED");
    let changes = if ready { &change_set.changes[page.range()] } else { &[] };
    let with_values = form.flag("IncludePropertyValues");
    xml.list("Changes", changes, |xml, change| {
        xml.leaf("Type", "Resource");
        xml.element("ResourceChange", |xml| {
            xml.optional("PolicyAction", change.policy_action);
            xml.leaf("Action", change.action);
            xml.leaf("LogicalResourceId", &change.logical_id);
            xml.optional("PhysicalResourceId", change.physical_id.as_deref());
            xml.leaf("ResourceType", &change.kind);
            xml.optional("Replacement", change.replacement);
            xml.list("Scope", &change.scope, |xml, scope| xml.write_text(scope));
            xml.list("Details", &change.details, |xml, detail| {
                xml.element("Target", |xml| {
                    xml.leaf("Attribute", detail.attribute);
                    xml.optional("Name", detail.name.as_deref());
                    xml.leaf("RequiresRecreation", detail.requires_recreation);
                    if let (true, Some(name)) = (with_values, &detail.name) {
                        xml.leaf("Path", &format!("/{}/{name}", detail.attribute));
                        xml.optional("BeforeValue", detail.before.as_deref());
                        xml.optional("AfterValue", detail.after.as_deref());
                        let kind = match (&detail.before, &detail.after) {
                            (None, _) => "Add",
                            (_, None) => "Remove",
                            (Some(_), Some(_)) => "Modify",
                        };
                        xml.leaf("AttributeChangeType", kind);
                    }
                });
                xml.leaf("Evaluation", detail.evaluation);
                xml.leaf("ChangeSource", detail.change_source);
                xml.optional("CausingEntity", detail.causing_entity.as_deref());
            });
        });
    });
    if ready {
        page.token(xml);
    }
    xml.leaf("IncludeNestedStacks", "false");
    xml.optional(
        "OnStackFailure",
        change_set.on_stack_failure.map(|on_failure| match on_failure {
            OnStackFailure::DoNothing => "DO_NOTHING",
            OnStackFailure::Rollback => "ROLLBACK",
            OnStackFailure::Delete => "DELETE",
        }),
    );
    Ok(())
}

/// ListChangeSets.
pub(crate) fn change_sets(
    region: &Region,
    form: &Form,
    session: &Session<'_>,
    xml: &mut Xml,
) -> Result<(), Refusal> {
    let stack_name = form.required("StackName")?;
    let Some(index) = region.find(stack_name) else {
        return Err(Refusal::validation(format!("Stack [{stack_name}] does not exist")));
    };
    let stack = &region.stacks[index];
    let page = Page::of(form, session, stack.change_sets.len())?;
    xml.list("Summaries", &stack.change_sets[page.range()], |xml, change_set| {
        let status = change_set.status(session.now_ms);
        xml.leaf("StackId", &stack.place.stack_id);
        xml.leaf("StackName", &stack.place.stack_name);
        xml.leaf("ChangeSetId", &change_set.id);
        xml.leaf("ChangeSetName", &change_set.name);
        xml.leaf("ExecutionStatus", change_set.execution_status(session.now_ms));
        xml.leaf("Status", status);
        if status == "FAILED" {
            xml.optional("StatusReason", change_set.failure.as_deref());
        }
        xml.leaf("CreationTime", &iso8601(change_set.created_ms));
        xml.optional("Description", change_set.description.as_deref());
        xml.leaf("IncludeNestedStacks", "false");
    });
    page.token(xml);
    Ok(())
}

/// DescribeStacks.
pub(crate) fn stacks(
    region: &Region,
    form: &Form,
    session: &Session<'_>,
    xml: &mut Xml,
) -> Result<(), Refusal> {
    let chosen: Vec<&Stack> = match form.filled("StackName") {
        Some(name) => match region.find(name) {
            Some(index) => vec![&region.stacks[index]],
            None => return Err(Refusal::validation(format!("Stack with id {name} does not exist"))),
        },
        None => region.stacks.iter().rev().filter(|stack| !stack.is_deleted()).collect(),
    };
    let page = Page::of(form, session, chosen.len())?;
    xml.list("Stacks", &chosen[page.range()], |xml, stack| {
        xml.leaf("StackId", &stack.place.stack_id);
        xml.leaf("StackName", &stack.place.stack_name);
        xml.optional("ChangeSetId", stack.change_set_id.as_deref());
        let nothing = Deployment::default();
        let deployment = stack.deployment.as_ref().unwrap_or(&nothing);
        xml.optional("Description", deployment.template.description.as_deref());
        parameters(deployment, xml);
        xml.leaf("CreationTime", &iso8601(stack.created_ms));
        xml.optional("DeletionTime", stack.deleted_ms.map(iso8601).as_deref());
        xml.optional("LastUpdatedTime", stack.updated_ms.map(iso8601).as_deref());
        xml.element("RollbackConfiguration", |_| {});
        xml.leaf("StackStatus", &stack.status);
        xml.optional("StackStatusReason", stack.reason.as_deref());
        xml.leaf("DisableRollback", if stack.disable_rollback { "true" } else { "false" });
        xml.strings("NotificationARNs", &deployment.notification_arns);
        if !deployment.capabilities.is_empty() {
            xml.strings("Capabilities", &deployment.capabilities);
        }
        if !stack.outputs.is_empty() {
            xml.list("Outputs", &stack.outputs, |xml, output| {
                xml.leaf("OutputKey", &output.key);
                xml.leaf("OutputValue", &output.value);
                xml.optional("Description", output.description.as_deref());
                xml.optional("ExportName", output.export_name.as_deref());
            });
        }
        xml.optional("RoleARN", deployment.role_arn.as_deref());
        xml.element("Tags", |xml| tag_members(&deployment.tags, xml));
        if !stack.is_deleted() {
            xml.leaf("EnableTerminationProtection", "false");
        }
        xml.element("DriftInformation", |xml| xml.leaf("StackDriftStatus", "NOT_CHECKED"));
    });
    page.token(xml);
    Ok(())
}

/// ListStacks: the deleted ones too, unless filtered.
pub(crate) fn list_stacks(
    region: &Region,
    form: &Form,
    session: &Session<'_>,
    xml: &mut Xml,
) -> Result<(), Refusal> {
    let filter = form.strings("StackStatusFilter").unwrap_or_default();
    let chosen: Vec<&Stack> = region
        .stacks
        .iter()
        .rev()
        .filter(|stack| filter.is_empty() || filter.contains(&stack.status))
        .collect();
    let page = Page::of(form, session, chosen.len())?;
    xml.list("StackSummaries", &chosen[page.range()], |xml, stack| {
        xml.leaf("StackId", &stack.place.stack_id);
        xml.leaf("StackName", &stack.place.stack_name);
        let description = stack.deployment.as_ref().and_then(|d| d.template.description.as_deref());
        xml.optional("TemplateDescription", description);
        xml.leaf("CreationTime", &iso8601(stack.created_ms));
        xml.optional("LastUpdatedTime", stack.updated_ms.map(iso8601).as_deref());
        xml.optional("DeletionTime", stack.deleted_ms.map(iso8601).as_deref());
        xml.leaf("StackStatus", &stack.status);
        xml.optional("StackStatusReason", stack.reason.as_deref());
        xml.element("DriftInformation", |xml| xml.leaf("StackDriftStatus", "NOT_CHECKED"));
    });
    page.token(xml);
    Ok(())
}

/// Where the stack is whose events are asked for.
pub(crate) fn stack_of_events(region: &Region, name: &str) -> Result<usize, Refusal> {
    region.find(name).ok_or_else(|| Refusal::validation(format!("Stack [{name}] does not exist")))
}

/// DescribeStackEvents: newest first. A page continues below the event it ended at, whatever has happened since.
pub(crate) fn stack_events(
    region: &Region,
    form: &Form,
    session: &Session<'_>,
    xml: &mut Xml,
) -> Result<(), Refusal> {
    let stack = &region.stacks[stack_of_events(region, form.required("StackName")?)?];
    let below = match form.filled("NextToken") {
        None => stack.events.len(),
        Some(token) => parse_token(token).filter(|n| *n <= stack.events.len()).ok_or_else(invalid_token)?,
    };
    let from = below.saturating_sub(session.settings.page_size.max(1));
    xml.list("StackEvents", stack.events[from..below].iter().rev(), |xml, event| {
        xml.leaf("StackId", &stack.place.stack_id);
        xml.leaf("EventId", &event.id);
        xml.leaf("StackName", &stack.place.stack_name);
        xml.leaf("LogicalResourceId", &event.logical_id);
        xml.leaf("PhysicalResourceId", &event.physical_id);
        xml.leaf("ResourceType", &event.kind);
        xml.leaf("Timestamp", &iso8601(event.at_ms));
        xml.leaf("ResourceStatus", &event.status);
        xml.optional("ResourceStatusReason", event.reason.as_deref());
        xml.optional("ResourceProperties", event.properties.as_deref());
        xml.optional("ClientRequestToken", event.token.as_deref());
    });
    if from > 0 {
        xml.leaf("NextToken", &format_token(from));
    }
    Ok(())
}

/// DescribeStackResources: of a stack, or of the stack that has a physical resource.
pub(crate) fn stack_resources(region: &Region, form: &Form, xml: &mut Xml) -> Result<(), Refusal> {
    let stack = match (form.filled("StackName"), form.filled("PhysicalResourceId")) {
        (Some(_), Some(_)) | (None, None) => {
            return Err(Refusal::validation("Specify either StackName or PhysicalResourceId, and not both."));
        }
        (Some(name), None) => match region.find(name) {
            Some(index) => &region.stacks[index],
            None => return Err(Refusal::validation(format!("Stack with id {name} does not exist"))),
        },
        (None, Some(id)) => region
            .stacks
            .iter()
            .find(|stack| {
                !stack.is_deleted() && stack.resources.iter().any(|r| r.physical_id.as_deref() == Some(id))
            })
            .ok_or_else(|| Refusal::validation(format!("Stack for {id} does not exist")))?,
    };
    let wanted = form.filled("LogicalResourceId");
    let chosen: Vec<&ResourceRecord> =
        stack.resources.iter().filter(|r| wanted.is_none_or(|id| id == r.logical_id)).collect();
    if let (Some(id), true) = (wanted, chosen.is_empty()) {
        return Err(Refusal::validation(format!(
            "Resource {id} does not exist for stack {}",
            stack.place.stack_name
        )));
    }
    xml.list("StackResources", chosen, |xml, record| {
        xml.leaf("StackName", &stack.place.stack_name);
        xml.leaf("StackId", &stack.place.stack_id);
        xml.leaf("LogicalResourceId", &record.logical_id);
        xml.optional("PhysicalResourceId", record.physical_id.as_deref());
        xml.leaf("ResourceType", &record.kind);
        xml.leaf("Timestamp", &iso8601(record.changed_ms));
        xml.leaf("ResourceStatus", &record.status);
        xml.optional("ResourceStatusReason", record.reason.as_deref());
        xml.element("DriftInformation", |xml| xml.leaf("StackResourceDriftStatus", "NOT_CHECKED"));
    });
    Ok(())
}

/// GetTemplate: of a stack, or of a change set. Macros do not run, so both stages are the same text.
pub(crate) fn get_template(region: &Region, form: &Form, xml: &mut Xml) -> Result<(), Refusal> {
    let body = if form.filled("ChangeSetName").is_some() {
        let (s, c) = change_sets::locate(region, form)?;
        &region.stacks[s].change_sets[c].deployment.template.body
    } else {
        let Some(name) = form.filled("StackName") else {
            return Err(Refusal::validation("StackName is required if ChangeSetName is not specified."));
        };
        let Some(index) = region.find(name) else {
            return Err(Refusal::validation(format!("Stack with id {name} does not exist")));
        };
        match &region.stacks[index].deployment {
            Some(deployment) => &deployment.template.body,
            None => return Err(Refusal::validation(format!("Stack [{name}] has no template yet"))),
        }
    };
    xml.leaf("TemplateBody", body);
    xml.list("StagesAvailable", ["Original", "Processed"], Xml::write_text);
    Ok(())
}

/// ValidateTemplate.
pub(crate) fn validate_template(form: &Form, xml: &mut Xml) -> Result<(), Refusal> {
    declared(&change_sets::template_of(form, None)?, xml);
    Ok(())
}

/// GetTemplateSummary, of a template or of a stack's: what ValidateTemplate tells, too, which is all that the AWS CLI
/// reads.
pub(crate) fn template_summary(region: &Region, form: &Form, xml: &mut Xml) -> Result<(), Refusal> {
    let Some(name) = form.filled("StackName") else { return validate_template(form, xml) };
    let stack = region.find(name).map(|index| &region.stacks[index]);
    match stack.and_then(|stack| stack.deployment.as_ref()) {
        Some(deployment) => declared(&deployment.template, xml),
        None => return Err(Refusal::validation(format!("Stack with id {name} does not exist"))),
    }
    Ok(())
}

/// What a template declares.
fn declared(template: &Template, xml: &mut Xml) {
    xml.list("Parameters", &template.parameters, |xml, parameter| {
        xml.leaf("ParameterKey", &parameter.key);
        xml.optional("DefaultValue", parameter.default.as_deref());
        xml.leaf("NoEcho", if parameter.no_echo { "true" } else { "false" });
        xml.optional("Description", parameter.description.as_deref());
    });
    xml.optional("Description", template.description.as_deref());
    let capabilities = crate::template::missing_capabilities(template, &[]);
    if !capabilities.is_empty() {
        xml.list("Capabilities", capabilities, Xml::write_text);
        xml.leaf("CapabilitiesReason", "The template has resources or macros that need these capabilities.");
    }
    if !template.transforms.is_empty() {
        xml.strings("DeclaredTransforms", &template.transforms);
    }
}

fn parameters(deployment: &Deployment, xml: &mut Xml) {
    if deployment.parameters.is_empty() {
        return;
    }
    xml.list("Parameters", &deployment.parameters, |xml, (key, value)| {
        xml.leaf("ParameterKey", key);
        xml.leaf("ParameterValue", if value.no_echo { HIDDEN } else { &value.text });
    });
}

fn tags(tags: &[(String, String)], xml: &mut Xml) {
    if !tags.is_empty() {
        xml.element("Tags", |xml| tag_members(tags, xml));
    }
}

fn tag_members(tags: &[(String, String)], xml: &mut Xml) {
    for (key, value) in tags {
        xml.element("member", |xml| {
            xml.leaf("Key", key);
            xml.leaf("Value", value);
        });
    }
}

/// A page of a list whose members do not move.
struct Page {
    from: usize,
    to: usize,
    more: bool,
}

impl Page {
    fn of(form: &Form, session: &Session<'_>, items: usize) -> Result<Self, Refusal> {
        let from = match form.filled("NextToken") {
            None => 0,
            Some(token) => parse_token(token).filter(|n| *n <= items).ok_or_else(invalid_token)?,
        };
        let to = items.min(from + session.settings.page_size.max(1));
        Ok(Self { from, to, more: to < items })
    }

    fn range(&self) -> std::ops::Range<usize> {
        self.from..self.to
    }

    fn token(&self, xml: &mut Xml) {
        if self.more {
            xml.leaf("NextToken", &format_token(self.to));
        }
    }
}

fn format_token(position: usize) -> String {
    format!("simulated-{position:x}")
}

fn parse_token(token: &str) -> Option<usize> {
    usize::from_str_radix(token.strip_prefix("simulated-")?, 16).ok()
}

fn invalid_token() -> Refusal {
    Refusal::validation("Invalid NextToken")
}
