//! The page itself: contents, operations by tag, then schemas.

use std::fmt::Write as _;

use serde_json::Value;

use super::schema::{fields, words};
use super::{escape, prose};
use crate::words::either;

const STYLE: &str = include_str!("style.css");

/// Renders an OpenAPI document (3.1), and the problems it may answer with, as one page.
pub(crate) fn render(openapi: &Value, problems: &[(&str, &str)]) -> String {
    let text = |pointer: &str| {
        openapi
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or("")
    };
    let tags = openapi["tags"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let mut contents = String::new();
    let mut body = String::new();
    for tag in tags {
        let name = tag["name"].as_str().unwrap_or("");
        let operations = operations(openapi, name);
        let links: String = operations.iter().map(link).collect();
        let _ = write!(contents, "<h2>{}</h2><ul>{links}</ul>", escape(name));
        let about = tag["description"].as_str().map(prose).unwrap_or_default();
        let _ = write!(body, "<section><h2>{}</h2>{about}", escape(name));
        body.extend(operations.iter().map(operation));
        body.push_str("</section>");
    }
    contents.push_str("<h2><a href=\"#problems\">Problems</a></h2>");
    body.push_str("<section id=\"problems\"><h2>Problems</h2><table><tbody>");
    for (code, meaning) in problems {
        let _ = write!(
            body,
            "<tr id=\"problem-{code}\"><td><code>{code}</code></td><td>{}</td></tr>",
            prose(meaning)
        );
    }
    body.push_str("</tbody></table></section>");
    if let Some(schemas) = openapi
        .pointer("/components/schemas")
        .and_then(Value::as_object)
    {
        contents.push_str("<h2><a href=\"#schemas\">Schemas</a></h2>");
        body.push_str("<section id=\"schemas\"><h2>Schemas</h2>");
        for (name, schema) in schemas {
            let about = schema["description"]
                .as_str()
                .map(prose)
                .unwrap_or_default();
            let fields = fields(schema).unwrap_or_else(|| format!("<p>{}</p>", words(schema)));
            let name = escape(name);
            let _ = write!(
                body,
                "<article id=\"schema-{name}\"><h3>{name}</h3>{about}{fields}</article>"
            );
        }
        body.push_str("</section>");
    }
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title}</title><style>{STYLE}</style></head><body>\
         <nav aria-label=\"Contents\"><p><a href=\"/\">{title}</a></p>{contents}</nav>\
         <main><h1>{title} <small>{version}</small></h1>{about}\
         <p>For programs: <a href=\"/openapi.json\"><code>/openapi.json</code></a></p>\
         {body}</main></body></html>",
        title = escape(text("/info/title")),
        version = escape(text("/info/version")),
        about = prose(text("/info/description")),
    )
}

struct Operation<'a> {
    method: &'a str,
    path: &'a str,
    value: &'a Value,
}

fn operations<'a>(openapi: &'a Value, tag: &str) -> Vec<Operation<'a>> {
    let Some(paths) = openapi["paths"].as_object() else {
        return Vec::new();
    };
    paths
        .iter()
        .flat_map(|(path, item)| {
            item.as_object()
                .into_iter()
                .flatten()
                .filter(|(_, value)| {
                    value["tags"]
                        .as_array()
                        .is_some_and(|tags| tags.iter().any(|t| t == tag))
                })
                .map(move |(method, value)| Operation {
                    method,
                    path,
                    value,
                })
        })
        .collect()
}

fn link(operation: &Operation<'_>) -> String {
    format!(
        "<li><a href=\"#{}\"><b>{}</b> {}</a></li>",
        anchor(operation),
        operation.method.to_uppercase(),
        escape(operation.path),
    )
}

fn anchor(operation: &Operation<'_>) -> String {
    escape(operation.value["operationId"].as_str().unwrap_or(""))
}

fn operation(operation: &Operation<'_>) -> String {
    let value = operation.value;
    let text = |name: &str| value[name].as_str().unwrap_or("");
    let mut out = format!(
        "<article id=\"{}\"><h3><b class=\"{method}\">{}</b> <code>{}</code></h3>\
         <p class=\"summary\">{}</p>{}",
        anchor(operation),
        operation.method.to_uppercase(),
        escape(operation.path),
        escape(text("summary")),
        prose(text("description")),
        method = escape(operation.method),
    );
    let _ = write!(out, "<p><small>{}</small></p>", who(value));
    if let Some(parameters) = value["parameters"].as_array().filter(|p| !p.is_empty()) {
        out.push_str("<h4>Parameters</h4><table><tbody>");
        for parameter in parameters {
            let _ = write!(
                out,
                "<tr><td><code>{}</code> <small>{}</small></td><td>{}</td><td>{}</td></tr>",
                escape(parameter["name"].as_str().unwrap_or("")),
                escape(parameter["in"].as_str().unwrap_or("")),
                words(&parameter["schema"]),
                prose(parameter["description"].as_str().unwrap_or(""))
            );
        }
        out.push_str("</tbody></table>");
    }
    if let Some(content) = value["requestBody"]["content"].as_object() {
        let about = value["requestBody"]["description"]
            .as_str()
            .map(prose)
            .unwrap_or_default();
        let _ = write!(
            out,
            "<h4>Request body</h4>{about}<ul>{}</ul>",
            media(content)
        );
    }
    if let Some(responses) = value["responses"].as_object() {
        out.push_str("<h4>Answers</h4><table><tbody>");
        for (status, response) in responses {
            let content = response["content"]
                .as_object()
                .map(media)
                .unwrap_or_default();
            let _ = write!(
                out,
                "<tr><td><b>{}</b></td><td>{}<ul>{content}</ul></td></tr>",
                escape(status),
                prose(response["description"].as_str().unwrap_or(""))
            );
        }
        out.push_str("</tbody></table>");
    }
    out.push_str("</article>");
    out
}

/// Who may ask: the roles that the document names beside the bearer scheme.
fn who(operation: &Value) -> String {
    let roles: Vec<String> = operation["security"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|scheme| scheme["token"].as_array())
        .flatten()
        .filter_map(Value::as_str)
        .map(escape)
        .collect();
    if roles.is_empty() {
        "Public: no token needed.".to_owned()
    } else {
        format!("Needs a token with the role {}.", either(&roles))
    }
}

fn media(content: &serde_json::Map<String, Value>) -> String {
    content
        .iter()
        .map(|(media_type, value)| {
            let schema = if value["schema"].is_object() {
                format!(": {}", words(&value["schema"]))
            } else {
                String::new()
            };
            format!("<li><code>{}</code>{schema}</li>", escape(media_type))
        })
        .collect::<Vec<_>>()
        .concat()
}
