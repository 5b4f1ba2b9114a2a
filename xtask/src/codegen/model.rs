//! The API model as the generator sees it.

use std::collections::BTreeMap;

use anyhow::{Context, bail, ensure};
use serde_json::Value;

/// One API model.
pub(super) struct Model {
    /// The service's names.
    pub(super) service: ServiceNames,
    /// The operations, by name.
    pub(super) operations: Vec<Operation>,
    /// The shapes, by name.
    pub(super) shapes: BTreeMap<String, Shape>,
}

/// What a service is called.
#[derive(Clone)]
pub(super) struct ServiceNames {
    /// `CodeConnections`, `CodeStar connections`.
    pub(super) id: String,
    /// The service in a SigV4 scope.
    pub(super) signing_name: String,
    /// The long `X-Amz-Target` prefix.
    pub(super) target_prefix: String,
}

/// One operation.
pub(super) struct Operation {
    pub(super) name: String,
    pub(super) input: String,
    pub(super) output: String,
    pub(super) errors: Vec<String>,
}

/// One shape.
pub(super) enum Shape {
    /// A string with its constraints.
    Text { min: Option<u64>, max: Option<u64>, pattern: Option<String> },
    /// A string out of a fixed set.
    Enum(Vec<String>),
    /// A 32-bit integer.
    Integer { min: Option<i64>, max: Option<i64> },
    /// A point in time.
    Timestamp,
    /// A list.
    List { member: String, min: Option<u64>, max: Option<u64> },
    /// A structure.
    Structure(Vec<Member>),
    /// A declared error and its HTTP status.
    Error(u16),
}

/// One member of a structure.
pub(super) struct Member {
    pub(super) name: String,
    pub(super) shape: String,
    pub(super) required: bool,
}

impl Model {
    /// Reads a stripped model.
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let json: Value = serde_json::from_str(text)?;
        let metadata = &json["metadata"];
        let service = ServiceNames {
            id: text_of(&metadata["serviceId"])?,
            signing_name: text_of(&metadata["signingName"])?,
            target_prefix: text_of(&metadata["targetPrefix"])?,
        };
        let mut operations = Vec::new();
        for (name, operation) in entries(&json["operations"])? {
            let shape = |value: &Value| text_of(&value["shape"]).with_context(|| format!("operation {name}"));
            let errors = operation["errors"].as_array().map_or(&[][..], Vec::as_slice);
            operations.push(Operation {
                name: name.clone(),
                input: shape(&operation["input"])?,
                output: shape(&operation["output"])?,
                errors: errors.iter().map(shape).collect::<Result<_, _>>()?,
            });
        }
        let mut shapes = BTreeMap::new();
        for (name, shape) in entries(&json["shapes"])? {
            let shape = Shape::parse(shape).with_context(|| format!("shape {name}"))?;
            shapes.insert(name.clone(), shape);
        }
        Ok(Self { service, operations, shapes })
    }

    /// The operations' names, in order.
    pub(super) fn operation_names(&self) -> impl Iterator<Item = &String> {
        self.operations.iter().map(|operation| &operation.name)
    }

    /// The shape of that name.
    pub(super) fn shape(&self, name: &str) -> anyhow::Result<&Shape> {
        self.shapes.get(name).with_context(|| format!("the model has no shape {name}"))
    }

    /// Appends values to an enumeration.
    pub(super) fn add_enum_values(&mut self, shape: &str, added: &[&str]) -> anyhow::Result<()> {
        let Some(Shape::Enum(values)) = self.shapes.get_mut(shape) else {
            bail!("the model has no enumeration {shape}");
        };
        for value in added {
            ensure!(!values.iter().any(|known| known == value), "{shape} has {value} by itself now");
            values.push((*value).to_owned());
        }
        Ok(())
    }

    /// Appends an optional member to a structure.
    pub(super) fn add_member(&mut self, shape: &str, name: &str, target: &str) -> anyhow::Result<()> {
        let Some(Shape::Structure(members)) = self.shapes.get_mut(shape) else {
            bail!("the model has no structure {shape}");
        };
        ensure!(members.iter().all(|member| member.name != name), "{shape} has {name} by itself now");
        members.push(Member { name: name.to_owned(), shape: target.to_owned(), required: false });
        Ok(())
    }
}

impl Shape {
    fn parse(json: &Value) -> anyhow::Result<Self> {
        if let Some(error) = json.get("error") {
            let status = error["httpStatusCode"].as_u64().context("an error without a status")?;
            return Ok(Self::Error(u16::try_from(status)?));
        }
        let bound =
            |key: &str| json.get(key).map(|value| value.as_u64().context("a negative length")).transpose();
        Ok(match json["type"].as_str() {
            Some("string") => match json.get("enum").and_then(Value::as_array) {
                Some(values) => Self::Enum(values.iter().map(text_of).collect::<Result<_, _>>()?),
                None => Self::Text {
                    min: bound("min")?,
                    max: bound("max")?,
                    pattern: json.get("pattern").map(text_of).transpose()?,
                },
            },
            Some("integer") => Self::Integer { min: json["min"].as_i64(), max: json["max"].as_i64() },
            Some("timestamp") => Self::Timestamp,
            Some("list") => Self::List {
                member: text_of(&json["member"]["shape"])?,
                min: bound("min")?,
                max: bound("max")?,
            },
            Some("structure") => {
                let required = json["required"].as_array().map_or(&[][..], Vec::as_slice);
                let mut members = Vec::new();
                for (name, member) in entries(&json["members"])? {
                    members.push(Member {
                        name: name.clone(),
                        shape: text_of(&member["shape"])?,
                        required: required.iter().any(|required| required == name.as_str()),
                    });
                }
                Self::Structure(members)
            }
            other => bail!("the generator does not know the type {other:?}"),
        })
    }
}

fn entries(json: &Value) -> anyhow::Result<impl Iterator<Item = (&String, &Value)>> {
    Ok(json.as_object().context("not an object")?.iter())
}

fn text_of(json: &Value) -> anyhow::Result<String> {
    Ok(json.as_str().with_context(|| format!("{json} is not a string"))?.to_owned())
}
