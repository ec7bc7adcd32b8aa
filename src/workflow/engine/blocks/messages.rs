//! Blocks that contact people.

use std::time::Duration;

use lettre::message::header::ContentType;
use lettre::message::{Attachment, Mailbox, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use secrecy::ExposeSecret;
use serde_json::json;

use crate::domain::file_name::file_name;
use crate::domain::run::BlockStatus;
use crate::workflow::definition::block::{HumanInteraction, SendEmail};
use crate::workflow::engine::ending::{Broken, End, Work};
use crate::workflow::engine::{Engine, Smtp};

/// The time limit for the mail server.
const PATIENCE: Duration = Duration::from_secs(30);

impl Engine {
    pub(super) async fn human_interaction(&mut self, spec: &HumanInteraction) -> Work {
        let recipients = spec.recipients.iter().any(|recipient| !recipient.trim().is_empty());
        if recipients && self.plan.settings.smtp.is_some() {
            let email = SendEmail {
                custom_smtp_host: None,
                custom_smtp_port: None,
                custom_smtp_username: None,
                custom_smtp_password: None,
                sender: spec.sender.clone().unwrap_or_else(|| "greenroom@localhost".to_owned()),
                recipients: spec.recipients.clone(),
                subject: spec.subject.clone(),
                body: format!("{}\n\n{}", spec.body, spec.instructions),
                file_attachments: None,
            };
            self.send(&email).await?;
        }
        let why = json!({
            "instructions": spec.instructions,
            "positive_descriptor": spec.positive_descriptor,
            "negative_descriptor": spec.negative_descriptor,
            "timeout_seconds": spec.timeout_seconds,
        });
        let patience = Duration::from_secs(spec.timeout_seconds);
        match tokio::time::timeout(patience, self.host.pause(why)).await {
            Ok(gone_on) => {
                gone_on?;
                let reason = "status_changed:running";
                Ok(End::completed(json!({ "success": true, "reason": reason })))
            }
            Err(_elapsed) => {
                let message = "Timeout elapsed with no human interaction";
                let end = End::failed("timeout", message);
                let output = json!({ "success": false, "reason": message });
                Ok(End { status: BlockStatus::TimedOut, output: Some(output), ..end })
            }
        }
    }

    pub(super) async fn send_email(&mut self, spec: &SendEmail) -> Work {
        self.send(spec).await?;
        Ok(End::completed(json!({ "success": true, "recipients": spec.recipients })))
    }

    async fn send(&self, spec: &SendEmail) -> Result<(), Broken> {
        let server = self.server(spec)?;
        let message = self.message(spec).await?;
        let failed = |error: &dyn std::fmt::Display| {
            End::failed(
                "email_failed",
                format!("{} did not accept the email: {error}", server.host),
            )
        };
        let builder = if server.plain {
            AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&server.host)
        } else if server.port == 465 {
            AsyncSmtpTransport::<Tokio1Executor>::relay(&server.host)
                .map_err(|error| failed(&error))?
        } else {
            AsyncSmtpTransport::<Tokio1Executor>::starttls_relay(&server.host)
                .map_err(|error| failed(&error))?
        };
        let mut builder = builder.port(server.port).timeout(Some(PATIENCE));
        if let (Some(username), Some(password)) = (&server.username, &server.password) {
            let password = password.expose_secret().to_owned();
            builder = builder.credentials(Credentials::new(username.clone(), password));
        }
        let sent = tokio::time::timeout(PATIENCE, builder.build().send(message)).await;
        match sent {
            Ok(Ok(_answer)) => Ok(()),
            Ok(Err(error)) => Err(failed(&error).into()),
            Err(_elapsed) => Err(failed(&"it did not answer in time").into()),
        }
    }

    fn server(&self, spec: &SendEmail) -> Result<Smtp, Broken> {
        let own = spec.custom_smtp_host.as_deref().map(str::trim).filter(|host| !host.is_empty());
        match (own, &self.plan.settings.smtp) {
            (Some(host), _) => {
                let port = spec.custom_smtp_port.unwrap_or(587);
                // The author of a workflow must not reach internal addresses through a mail server.
                let url = url::Url::parse(&format!("http://{host}:{port}/"));
                let guard = crate::workflow::guard::Guard::new(self.plan.settings.guard.clone());
                let checked = url.map(|url| guard.check(&url));
                if !matches!(checked, Ok(Ok(()))) {
                    let message = format!("the mail server `{host}` is not allowed");
                    return Err(End::failed("url_refused", message).into());
                }
                Ok(Smtp {
                    host: host.to_owned(),
                    port,
                    username: spec.custom_smtp_username.clone(),
                    password: spec.custom_smtp_password.clone().map(Into::into),
                    plain: false,
                })
            }
            (None, Some(smtp)) => Ok(smtp.clone()),
            (None, None) => {
                let message = "no mail server is configured";
                Err(End::failed("email_not_configured", message).into())
            }
        }
    }

    async fn message(&self, spec: &SendEmail) -> Result<Message, Broken> {
        let mailbox = |text: &str| {
            text.trim().parse::<Mailbox>().map_err(|error| {
                End::failed("field_invalid", format!("`{text}` is not an address: {error}"))
            })
        };
        let mut builder = Message::builder().from(mailbox(&spec.sender)?).subject(&spec.subject);
        let recipients = spec.recipients.iter().flat_map(|text| text.split([',', ';']));
        let mut any = false;
        for recipient in recipients.filter(|recipient| !recipient.trim().is_empty()) {
            builder = builder.to(mailbox(recipient)?);
            any = true;
        }
        if !any {
            return Err(End::failed("field_invalid", "`recipients` is empty").into());
        }
        let mut parts = MultiPart::mixed().singlepart(SinglePart::plain(spec.body.clone()));
        for url in spec.file_attachments.iter().flatten().filter(|url| !url.trim().is_empty()) {
            let (media_type, bytes) = self.fetch(url).await?;
            let octets = "application/octet-stream";
            let content_type = ContentType::parse(&media_type)
                .or_else(|_unknown| ContentType::parse(octets))
                .map_err(|error| End::failed("email_failed", error.to_string()))?;
            let name = file_name(url.split(['?', '#']).next().unwrap_or_default());
            parts = parts.singlepart(Attachment::new(name).body(bytes.to_vec(), content_type));
        }
        let built = builder.multipart(parts);
        Ok(built.map_err(|error| End::failed("email_failed", error.to_string()))?)
    }
}
