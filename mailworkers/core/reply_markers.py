"""What 5yz replies say beyond their digits: whose fault a refusal is, told by code and wording.

Servers agree little here, so the tables are by experience: enhanced codes as registered (RFC 3463,
RFC 4954, RFC 7372, RFC 8617), Microsoft's own ranges, and phrases that large providers use. Where
nothing is recognised a refusal is just a refusal. docs/classification.md shows them with samples.
"""

import re

from mailworkers.core.wire import Reply

# These speak of the session, whatever command they answer: bad sequence of commands (RFC 5321), the
# login (RFC 4954 section 6), a disabled account (RFC 5248).
ACCOUNT_CODES = frozenset({503, 525, 530, 534, 535, 538})
ACCOUNT_ENHANCED = frozenset(
    {
        "5.1.90",  # daily limit of recipients reached
        "5.2.253",  # sender throttled, licence errors
        "5.4.5",  # daily sending limit exceeded
        "5.7.54",  # unable to relay in a non-accepted domain
        "5.7.57",  # client not authenticated
        "5.7.64",  # relay access denied
        "5.7.232",  # trial tenant's daily limit exceeded
        "5.7.233",  # tenant's daily limit exceeded
        "5.7.705",  # tenant has exceeded its threshold
    }
)
ACCOUNT_PHRASES = (
    r"relay(ing)? (access )?(is )?(denied|prohibited|not (permitted|allowed|authorized))",
    r"(unable|not permitted|not allowed|not authorized) to relay",
    r"(do|does) not relay",
    r"cannot relay",
    r"list of allowed rcpthosts",
    r"credentials for relay",
    r"(authentication|starttls) (is )?required",
    r"(must|please) (be )?authenticate",
    r"must issue a starttls",
    r"client (was|is) not authenticated",
    r"unauthenticated senders? (is |are )?not allowed",
    r"not authorized to (perform|send e?mail directly)",
    r"is not allowed to send\s*([:.]|$)",
    r"mail sending denied",
    r"helo command rejected",
    r"cannot find your (reverse )?hostname",
    r"(sending|message|submission|relay) (limit|quota) (is |was )?exceeded",
    r"reached your daily limit",
    r"exceeded its daily limit",
    r"daily (user )?sending",
    r"allowed outgoing messages",
    r"credits exceeded",
    r"outboundspamexception",
    r"sending (is )?paused for this account",
    r"your account (is|has been) (disable|suspend)",
    r"account is not (yet )?activ",
    r"sandbox subdomains",
)

SENDER_ENHANCED = frozenset(
    {
        "5.1.7",  # bad sender's mailbox address syntax
        "5.1.8",  # bad sender's system address
        "5.2.252",  # send-as denied
        "5.7.60",  # no permission to send as this sender
        "5.7.750",  # the sender's domain is not registered there
    }
)
SENDER_PHRASES = (
    r"sender address rejected",
    r"not owned by user",
    r"sendasdenied",
    r"permissions? to send as",
    r"email address is not verified",
    r"sender (identity|domain|is) (is )?not verified",
    r"verified sender identity",
    r"sender verify failed",
    r"invalid mail from",
)

# x.7.20..29: DKIM, SPF, reverse DNS and several checks failed, mail flood, ARC. From 501 on:
# Microsoft's refusals for spam, DMARC and banned addresses.
POLICY_DETAILS = frozenset({*range(20, 30), *range(501, 514), 515, *range(606, 650), 703, 708})
# Under an enhanced code x.7.y, which is about security or policy for certain:
POLICY_PHRASES_WITH_CODE = (
    r"spam",
    r"unsolicited",
    r"bulk",
    r"(black|block|deny)\s?list",
    r"\blisted\b",
    r"reputation",
    r"dnsbl",
    r"polic(y|ies)",
    r"dmarc",
    r"\bspf\b",
    r"\bdkim\b",
    r"ptr record",
    r"unauthenticated",
    r"blocked",
    r"banned",
    r"abus(e|ive)",
    r"permanently deferred",
    r"virus",
    r"malware",
    r"phish",
    r"suspicious",
    r"prohibited content",
    r"content (rejected|denied)",
    r"barracuda",
    r"proofpoint",
    r"\brbl\b",
)
# Without any enhanced code, only what leaves no doubt ("mailbox blocked" is about a mailbox):
POLICY_PHRASES_ALONE = (
    r"\bspam\b",
    r"unsolicited",
    r"spamhaus",
    r"spamcop",
    r"dnsbl",
    r"\brbl\b",
    r"poor reputation",
    r"(ip|host|address|network|server)\b.{0,80}\b(black|block|deny)\s?-?list",
    r"in a black ?list at",
    r"on our block list",
    r"blocked (using|for spam)",
    r"polic(y|ies) (reasons?|restrictions?|violation)",
    r"(violates?|due to) .{0,40}polic",
    r"local policy",
    r"dmarc",
    r"virus",
    r"malware",
    r"phishing",
    r"\[(PH|BL|CS|HVU|RLY|TSS)[:0-9]",
)
# These are refused with the same codes, and are about how the message is written.
FORM_PHRASES = (r"rfc ?[0-9]{3,4}( section [0-9.]+)? compliant",)


def _any(phrases: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(phrases), re.IGNORECASE)


_ACCOUNT, _SENDER, _FORM = map(_any, (ACCOUNT_PHRASES, SENDER_PHRASES, FORM_PHRASES))
_POLICY_WITH_CODE = _any(POLICY_PHRASES_WITH_CODE)
_POLICY_ALONE = _any(POLICY_PHRASES_ALONE)


def is_about_account(reply: Reply) -> bool:
    """Whether a 5yz speaks of our login, our right to relay or our quota, not of this message.

    It would meet every queued message alike, and ends by someone's hand: try again.
    """
    return (
        reply.code in ACCOUNT_CODES
        or reply.enhanced in ACCOUNT_ENHANCED
        or bool(_ACCOUNT.search(reply.text))
    )


def is_about_sender(reply: Reply) -> bool:
    """Whether a 5yz refuses the sender identity."""
    return reply.enhanced in SENDER_ENHANCED or bool(_SENDER.search(reply.text))


def is_policy(reply: Reply) -> bool:
    """Whether a 5yz is a provider's policy or reputation refusal: spam, blocklist, DMARC ..."""
    if _FORM.search(reply.text):
        return False
    if not reply.enhanced:
        return bool(_POLICY_ALONE.search(reply.text))
    _, subject, detail = reply.enhanced.split(".")
    if subject != "7":
        return False
    return int(detail) in POLICY_DETAILS or bool(_POLICY_WITH_CODE.search(reply.text))


def is_about_size(reply: Reply) -> bool:
    """Whether a 5yz to MAIL is about this message: too large, or parameters it needs (RFC 1870)."""
    return reply.code in (552, 555) or reply.enhanced.endswith(".3.4")


def is_too_many_recipients(reply: Reply) -> bool:
    """Whether RCPT was refused only because the transaction is full (RFC 5321 section 4.5.3.1.10).

    552 is what RFC 821 said for it.
    """
    return reply.code in (452, 552) and (
        reply.enhanced.endswith(".5.3") or "too many recipients" in reply.text.lower()
    )
