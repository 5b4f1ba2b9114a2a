//! The stripped copy of a botocore model: structure only.
//!
//! Keys are copied by name, so that prose of any kind (`documentation`, `deprecatedMessage`, …) stays out.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::{Map, Value};

const METADATA: &[&str] =
    &["apiVersion", "jsonVersion", "protocol", "protocols", "serviceId", "signingName", "targetPrefix"];
const OPERATION: &[&str] = &["name", "input", "output", "errors"];
const SHAPE: &[&str] =
    &["type", "required", "members", "member", "key", "value", "enum", "min", "max", "pattern", "error"];

/// Writes `<signing name>-<API version>.json` into `directory`.
pub(super) fn import(source: &Path, directory: &Path) -> anyhow::Result<()> {
    let text = read(source)?;
    let model: Value = serde_json::from_str(&text).with_context(|| format!("in {}", source.display()))?;
    let metadata = &model["metadata"];
    let name = |key: &str| metadata[key].as_str().with_context(|| format!("the model has no metadata.{key}"));
    let file = directory.join(format!("{}-{}.json", name("signingName")?, name("apiVersion")?));
    let stripped = serde_json::to_string_pretty(&strip(&model))? + "\n";
    fs::write(&file, stripped).with_context(|| format!("writing {}", file.display()))?;
    println!("wrote {}", file.display());
    Ok(())
}

fn read(source: &Path) -> anyhow::Result<String> {
    if source.extension().is_none_or(|extension| extension != "gz") {
        return fs::read_to_string(source).with_context(|| format!("reading {}", source.display()));
    }
    let output = Command::new("gzip").arg("-dc").arg(source).output().context("running gzip")?;
    ensure!(output.status.success(), "gzip -dc {}: {}", source.display(), output.status);
    Ok(String::from_utf8(output.stdout)?)
}

fn strip(model: &Value) -> Value {
    let mut stripped = Map::new();
    stripped.insert("metadata".to_owned(), keep(&model["metadata"], METADATA));
    stripped
        .insert("operations".to_owned(), each(&model["operations"], |operation| keep(operation, OPERATION)));
    stripped.insert("shapes".to_owned(), each(&model["shapes"], |shape| keep(shape, SHAPE)));
    let mut stripped = Value::Object(stripped);
    strip_references(&mut stripped);
    stripped
}

fn keep(value: &Value, keys: &[&str]) -> Value {
    let kept = keys.iter().filter_map(|&key| Some((key.to_owned(), value.get(key)?.clone())));
    Value::Object(kept.collect())
}

fn each(value: &Value, strip: impl Fn(&Value) -> Value) -> Value {
    let entries = value.as_object().into_iter().flatten();
    let mut entries: Vec<(String, Value)> = entries.map(|(key, value)| (key.clone(), strip(value))).collect();
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    Value::Object(entries.into_iter().collect())
}

/// Cuts every `{"shape": X, …}` down to `{"shape": X}`.
fn strip_references(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if map.get("shape").is_some_and(Value::is_string) {
                map.retain(|key, _| key == "shape");
            }
            map.values_mut().for_each(strip_references);
        }
        Value::Array(items) => items.iter_mut().for_each(strip_references),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::strip;

    #[test]
    fn prose_is_left_behind_wherever_it_stands() {
        let prose = "<p>words</p>";
        let model = json!({
            "metadata": {"signingName": "x", "uid": "x-1"},
            "documentation": prose,
            "operations": {"Do": {"name": "Do", "input": {"shape": "In", "documentation": prose}, "documentation": prose}},
            "shapes": {
                "In": {"type": "structure", "members": {"A": {"shape": "S", "documentation": prose}}, "documentation": prose},
                "E": {"type": "structure", "error": {"httpStatusCode": 400}, "exception": true},
            },
        });
        assert_eq!(
            strip(&model),
            json!({
                "metadata": {"signingName": "x"},
                "operations": {"Do": {"name": "Do", "input": {"shape": "In"}}},
                "shapes": {
                    "E": {"type": "structure", "error": {"httpStatusCode": 400}},
                    "In": {"type": "structure", "members": {"A": {"shape": "S"}}},
                },
            })
        );
    }
}
