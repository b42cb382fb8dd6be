//! Who reports.

use super::words;

words! {
    /// Who reports outcomes: an ESP, an MTA, Apple.
    pub enum Provider {
        /// Amazon Simple Email Service.
        Ses = 1, "ses";
        /// SparkPost (Bird), and Momentum.
        Sparkpost = 2, "sparkpost";
        /// Braze, which sends through SparkPost, SendGrid or SES.
        Braze = 3, "braze";
        /// Mailgun.
        Mailgun = 4, "mailgun";
        /// Apple itself: server-to-server notices.
        Apple = 5, "apple";
        /// Twilio SendGrid.
        Sendgrid = 6, "sendgrid";
        /// Postmark.
        Postmark = 7, "postmark";
        /// Mailchimp Transactional (Mandrill).
        Mandrill = 8, "mandrill";
        /// Mailjet.
        Mailjet = 9, "mailjet";
        /// Brevo.
        Brevo = 10, "brevo";
        /// Resend.
        Resend = 11, "resend";
        /// MailerSend.
        Mailersend = 12, "mailersend";
        /// Postal.
        Postal = 13, "postal";
        /// KumoMTA.
        Kumomta = 14, "kumomta";
        /// Customer.io.
        Customerio = 15, "customerio";
        /// Iterable.
        Iterable = 16, "iterable";
        /// Klaviyo.
        Klaviyo = 17, "klaviyo";
        /// SocketLabs.
        Socketlabs = 18, "socketlabs";
        /// Elastic Email.
        Elasticemail = 19, "elasticemail";
        /// Azure Communication Services.
        Azure = 20, "azure";
        /// Scaleway Transactional Email.
        Scaleway = 21, "scaleway";
        /// Unisender Go.
        Unisender = 22, "unisender";
        /// Mailtrap.
        Mailtrap = 23, "mailtrap";
        /// Postfix, by its log.
        Postfix = 24, "postfix";
        /// Bounce mail itself.
        Mail = 25, "mail";
        /// A sender of one's own, by relaywatch's own event format.
        Generic = 26, "generic";
    }
}
