//! One account's stacks in one region.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::engine::{self, Operation, Surroundings};
use crate::faults::ResourceFaults;
use crate::refusal::Refusal;
use crate::settings::Settings;
use crate::stack::Stack;
use crate::template::Place;

/// One account's stacks in one region, oldest first.
#[derive(Debug)]
pub(crate) struct Region {
    pub(crate) partition: &'static str,
    pub(crate) url_suffix: &'static str,
    pub(crate) name: String,
    pub(crate) account: String,
    pub(crate) stacks: Vec<Stack>,
    indexes: Indexes,
}

/// Where stacks are in [`Region::stacks`], so that no call costs more because there are more stacks.
#[derive(Debug, Default)]
struct Indexes {
    by_id: HashMap<String, usize>,
    /// The newest of each name.
    by_name: HashMap<String, usize>,
    by_change_set: HashMap<String, usize>,
    /// Those that may have an operation.
    busy: BTreeSet<usize>,
    /// Those that may export or import values.
    sharing: BTreeSet<usize>,
}

impl Region {
    pub(crate) fn new(account: &str, name: &str) -> Self {
        let (partition, url_suffix) = match name.split('-').next().unwrap_or_default() {
            "cn" => ("aws-cn", "amazonaws.com.cn"),
            "us" if name.starts_with("us-gov-") => ("aws-us-gov", "amazonaws.com"),
            "us" if name.starts_with("us-iso-") => ("aws-iso", "c2s.ic.gov"),
            "us" if name.starts_with("us-isob-") => ("aws-iso-b", "sc2s.sgov.gov"),
            "eusc" => ("aws-eusc", "amazonaws.eu"),
            _ => ("aws", "amazonaws.com"),
        };
        Self {
            partition,
            url_suffix,
            name: name.to_owned(),
            account: account.to_owned(),
            stacks: Vec::new(),
            indexes: Indexes::default(),
        }
    }

    /// A place for a new stack.
    pub(crate) fn place(&self, stack_name: &str) -> Place {
        Place {
            partition: self.partition,
            url_suffix: self.url_suffix,
            region: self.name.clone(),
            account: self.account.clone(),
            stack_name: stack_name.to_owned(),
            stack_id: format!(
                "arn:{}:cloudformation:{}:{}:stack/{stack_name}/{}",
                self.partition,
                self.name,
                self.account,
                syncline_seams::chance::uuid()
            ),
        }
    }

    /// The ARN of a new change set.
    pub(crate) fn change_set_arn(&self, name: &str) -> String {
        format!(
            "arn:{}:cloudformation:{}:{}:changeSet/{name}/{}",
            self.partition,
            self.name,
            self.account,
            syncline_seams::chance::uuid()
        )
    }

    /// Where a stack is in [`Region::stacks`]: by id also when it is deleted, by name only while it is not.
    pub(crate) fn find(&self, name_or_id: &str) -> Option<usize> {
        if name_or_id.starts_with("arn:") {
            self.indexes.by_id.get(name_or_id).copied()
        } else {
            let index = self.indexes.by_name.get(name_or_id).copied();
            index.filter(|index| !self.stacks[*index].is_deleted())
        }
    }

    /// Where the stack of a change set is in [`Region::stacks`], if it was ever made.
    pub(crate) fn find_of_change_set(&self, arn: &str) -> Option<usize> {
        self.indexes.by_change_set.get(arn).copied()
    }

    /// Adds a stack; there is no other of its name that is not deleted.
    pub(crate) fn add(&mut self, stack: Stack) -> usize {
        let index = self.stacks.len();
        self.indexes.by_id.insert(stack.place.stack_id.clone(), index);
        self.indexes.by_name.insert(stack.place.stack_name.clone(), index);
        self.stacks.push(stack);
        index
    }

    /// Takes back the stack that was added last.
    pub(crate) fn take_back(&mut self) {
        let Some(stack) = self.stacks.pop() else { return };
        self.indexes.by_id.remove(&stack.place.stack_id);
        self.indexes.by_name.remove(&stack.place.stack_name);
    }

    /// Notes a change set of a stack.
    pub(crate) fn note_change_set(&mut self, arn: &str, index: usize) {
        self.indexes.by_change_set.insert(arn.to_owned(), index);
    }

    /// Notes what a step left of a stack.
    fn note(&mut self, index: usize) {
        let stack = &self.stacks[index];
        if stack.operation.is_some() {
            self.indexes.busy.insert(index);
        } else {
            self.indexes.busy.remove(&index);
        }
        if !stack.imports.is_empty() || stack.outputs.iter().any(|output| output.export_name.is_some()) {
            self.indexes.sharing.insert(index);
        }
    }

    fn sharing(&self) -> impl Iterator<Item = &Stack> {
        self.indexes.sharing.iter().map(|index| &self.stacks[*index]).filter(|stack| !stack.is_deleted())
    }

    /// A stack, or the error that names it as most operations do.
    pub(crate) fn stack(&mut self, name_or_id: &str) -> Result<&mut Stack, Refusal> {
        match self.find(name_or_id) {
            Some(index) => Ok(&mut self.stacks[index]),
            None => Err(Refusal::validation(format!("Stack with id {name_or_id} does not exist"))),
        }
    }

    /// Every export: its name, its value and its stack's name.
    pub(crate) fn exports(&self) -> BTreeMap<String, (String, String)> {
        let mut exports = BTreeMap::new();
        for stack in self.sharing() {
            for output in &stack.outputs {
                if let Some(name) = &output.export_name {
                    exports.insert(name.clone(), (output.value.clone(), stack.place.stack_name.clone()));
                }
            }
        }
        exports
    }

    /// Who reads an export.
    pub(crate) fn imports(&self) -> BTreeMap<String, Vec<String>> {
        let mut imports: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for stack in self.sharing() {
            for name in &stack.imports {
                imports.entry(name.clone()).or_default().push(stack.place.stack_name.clone());
            }
        }
        imports
    }

    fn around<'a>(&self, settings: &'a Settings, faults: &'a ResourceFaults) -> Surroundings<'a> {
        Surroundings { settings, faults, exports: self.exports(), imports: self.imports() }
    }

    /// Does everything that is due until `now`, in the order in which it is due.
    pub(crate) fn advance(&mut self, settings: &Settings, faults: &ResourceFaults, now: i64) {
        loop {
            let due = |index: usize| self.stacks[index].operation.as_ref().and_then(Operation::next_due_ms);
            let next = self
                .indexes
                .busy
                .iter()
                .filter_map(|index| Some((due(*index)?, *index)))
                .min()
                .filter(|(at_ms, _)| *at_ms <= now);
            let Some((_, index)) = next else { return };
            let around = self.around(settings, faults);
            engine::step(&mut self.stacks[index], &around);
            self.note(index);
        }
    }

    /// Begins an operation on a stack.
    pub(crate) fn begin(
        &mut self,
        index: usize,
        operation: Operation,
        settings: &Settings,
        faults: &ResourceFaults,
        now: i64,
    ) {
        let around = self.around(settings, faults);
        engine::begin(&mut self.stacks[index], operation, &around, now);
        self.note(index);
        self.advance(settings, faults, now);
    }

    /// Goes on with an operation that had stopped.
    pub(crate) fn resume(
        &mut self,
        index: usize,
        operation: Operation,
        settings: &Settings,
        faults: &ResourceFaults,
        now: i64,
    ) {
        let around = self.around(settings, faults);
        engine::settle(&mut self.stacks[index], operation, &around, now);
        self.note(index);
        self.advance(settings, faults, now);
    }
}
