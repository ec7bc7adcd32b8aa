//! The parameters of a definition.

use serde_json::{Map, Value};

use super::PathPart;
use super::block::Misfit;

/// Names that templates define already.
pub const RESERVED: &[&str] = &[
    "current_item",
    "current_value",
    "current_index",
    "current_date",
    "workflow_title",
    "workflow_id",
    "workflow_permanent_id",
    "workflow_run_id",
    "workflow_run_outputs",
    "workflow_run_summary",
];

/// A parameter of a definition.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// The name of the parameter in templates and in `parameter_keys`.
    pub key: String,
    /// The source of its value.
    pub kind: ParameterKind,
    /// The parameter as it was given.
    pub raw: Map<String, Value>,
}

/// The source of a parameter's value.
#[derive(Debug, Clone, PartialEq)]
pub enum ParameterKind {
    /// The request that starts the run gives the value.
    Workflow {
        /// The type of the value.
        value_type: ValueType,
        /// The value if the request gives none.
        default: Option<Value>,
    },
    /// The value of another parameter or output.
    Context {
        /// The key of that parameter or output.
        source: String,
    },
    /// A vault of this type, which the server does not support.
    Secret(String),
}

/// The type of a parameter's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueType {
    String,
    Integer,
    Float,
    Boolean,
    Json,
    /// The URL of a file.
    FileUrl,
    /// The id of a credential.
    CredentialId,
}

impl ValueType {
    const ALL: [(Self, &str); 7] = [
        (Self::String, "string"),
        (Self::Integer, "integer"),
        (Self::Float, "float"),
        (Self::Boolean, "boolean"),
        (Self::Json, "json"),
        (Self::FileUrl, "file_url"),
        (Self::CredentialId, "credential_id"),
    ];

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_type, name)| *name == text).map(|(found, _name)| found)
    }
}

/// The required fields of the types whose values come from a vault.
fn vault_fields(parameter_type: &str) -> Option<&'static [&'static str]> {
    Some(match parameter_type {
        "aws_secret" => &["aws_key"],
        "credential" => &["credential_id"],
        "onepassword" => &["vault_id", "item_id"],
        "azure_vault_credential" => &["vault_name", "username_key", "password_key"],
        "bitwarden_login_credential" => &[
            "bitwarden_client_id_aws_secret_key",
            "bitwarden_client_secret_aws_secret_key",
            "bitwarden_master_password_aws_secret_key",
        ],
        "bitwarden_sensitive_information" => &[
            "bitwarden_client_id_aws_secret_key",
            "bitwarden_client_secret_aws_secret_key",
            "bitwarden_master_password_aws_secret_key",
            "bitwarden_collection_id",
            "bitwarden_identity_key",
        ],
        "bitwarden_credit_card_data" => &[
            "bitwarden_client_id_aws_secret_key",
            "bitwarden_client_secret_aws_secret_key",
            "bitwarden_master_password_aws_secret_key",
            "bitwarden_collection_id",
            "bitwarden_item_id",
        ],
        _ => return None,
    })
}

/// True if Python accepts the text as a variable name.
pub fn is_identifier(text: &str) -> bool {
    let mut letters = text.chars();
    letters.next().is_some_and(|first| first == '_' || first.is_alphabetic())
        && letters.all(|letter| letter == '_' || letter.is_alphanumeric())
}

impl Parameter {
    /// Reads one parameter by itself; the definition checks its references.
    pub(super) fn read(value: &Value) -> Result<Self, Misfit> {
        let whole = |code, message: &str| Misfit {
            path: Vec::<PathPart>::new(),
            code,
            message: message.to_owned(),
        };
        let raw = value.as_object().ok_or_else(|| whole("type_invalid", "expected an object"))?;
        let text = |field: &str| match raw.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                Err(Misfit::field(field, "type_invalid", "expected a text"))
            }
        };
        let required = |field: &str| {
            text(field)?.ok_or_else(|| Misfit::field(field, "missing", "the field is required"))
        };

        let key = required("key")?;
        if !is_identifier(&key) {
            let message = format!("`{key}` is not a valid name: use letters, digits and `_`");
            return Err(Misfit::field("key", "key_invalid", message));
        }
        if RESERVED.contains(&key.as_str()) {
            let message = format!("`{key}` is a reserved name");
            return Err(Misfit::field("key", "key_reserved", message));
        }

        let parameter_type = required("parameter_type")?;
        let kind = match parameter_type.as_str() {
            "workflow" => {
                let name = required("workflow_parameter_type")?;
                let value_type = ValueType::parse(&name).ok_or_else(|| {
                    let message = format!("there is no parameter type `{name}`");
                    Misfit::field("workflow_parameter_type", "type_unknown", message)
                })?;
                let default = raw.get("default_value").filter(|value| !value.is_null()).cloned();
                ParameterKind::Workflow { value_type, default }
            }
            "context" => ParameterKind::Context { source: required("source_parameter_key")? },
            "output" => {
                let message = "output parameters are made by the server";
                return Err(Misfit::field("parameter_type", "parameter_type_reserved", message));
            }
            other => {
                let fields = vault_fields(other).ok_or_else(|| {
                    let message = format!("there is no parameter type `{other}`");
                    Misfit::field("parameter_type", "parameter_type_unknown", message)
                })?;
                for field in fields {
                    required(field)?;
                }
                ParameterKind::Secret(parameter_type)
            }
        };
        Ok(Self { key, kind, raw: raw.clone() })
    }
}
