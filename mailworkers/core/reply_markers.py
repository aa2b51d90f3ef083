"""What 5yz replies say beyond their digits: whose fault a refusal is, told by code and wording.

Servers agree little here, so the tables are by experience: enhanced codes as registered (RFC 3463,
RFC 4954, RFC 7372, RFC 8617), Microsoft's own ranges, and phrases that large providers use. Where
nothing is recognised a refusal is just a refusal.
"""

import re

from mailworkers.core.wire import Reply

# These speak of the session, whatever command they answer: bad sequence of commands (RFC 5321) and
# the login (RFC 4954 section 6).
_ACCOUNT_CODES = frozenset({503, 530, 534, 535, 538})
_ACCOUNT_ENHANCED = frozenset(
    {
        "5.4.5",  # daily sending limit exceeded
        "5.7.54",  # unable to relay in a non-accepted domain
        "5.7.57",  # client not authenticated
        "5.7.64",  # relay access denied
        "5.7.705",  # tenant has exceeded its threshold
    }
)
_ACCOUNT = re.compile(
    r"""
      relay(ing)?\ (access\ )?(is\ )?(denied|prohibited|not\ (permitted|allowed|authorized))
    | (unable|not\ permitted|not\ allowed|not\ authorized)\ to\ relay
    | (do|does)\ not\ relay | cannot\ relay | list\ of\ allowed\ rcpthosts
    | (authentication|starttls)\ (is\ )?required | must\ (be\ )?authenticate
    | must\ issue\ a\ starttls | client\ (was|is)\ not\ authenticated
    | helo\ command\ rejected | cannot\ find\ your\ (reverse\ )?hostname
    | (sending|message)\ (limit|quota)\ (is\ |was\ )?exceeded | daily\ (user\ )?sending
    | allowed\ outgoing\ messages | outboundspamexception
    | sending\ (is\ )?paused\ for\ this\ account | your\ account\ (is|has\ been)\ (disable|suspend)
    """,
    re.IGNORECASE | re.VERBOSE,
)

_SENDER_ENHANCED = frozenset(
    {
        "5.1.7",  # bad sender's mailbox address syntax
        "5.1.8",  # bad sender's system address
        "5.2.252",  # send-as denied
        "5.7.60",  # no permission to send as this sender
    }
)
_SENDER = re.compile(
    r"""
      sender\ address\ rejected | not\ owned\ by\ user | sendasdenied | permissions?\ to\ send\ as
    | email\ address\ is\ not\ verified | sender\ (identity|is)\ not\ verified
    """,
    re.IGNORECASE | re.VERBOSE,
)

# x.7.20..29: DKIM, SPF, reverse DNS and several checks failed, mail flood, ARC. From 501 on:
# Microsoft's refusals for spam, DMARC and banned addresses.
_POLICY_DETAILS = frozenset({*range(20, 30), *range(501, 514), 515, *range(606, 650), 703, 708})
# Under an enhanced code x.7.y, which is about security or policy for certain:
_POLICY_WITH_CODE = re.compile(
    r"""
      spam | unsolicited | bulk | (black|block|deny)\s?list | \blisted\b | reputation | dnsbl
    | polic(y|ies) | dmarc | \bspf\b | \bdkim\b | unauthenticated | blocked | banned | abus(e|ive)
    | virus | malware | phish | suspicious | prohibited\ content | content\ (rejected|denied)
    | spamhaus | spamcop | barracuda | proofpoint | \brbl\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
# Without any enhanced code, only what leaves no doubt ("mailbox blocked" is about a mailbox):
_POLICY_ALONE = re.compile(
    r"""
      \bspam\b | unsolicited | spamhaus | spamcop | dnsbl | \brbl\b | poor\ reputation
    | (ip|host|address|network|server)\b.{0,80}\b(black|block|deny)\s?-?list
    | on\ our\ block\ list | blocked\ (using|for\ spam)
    | polic(y|ies)\ (reasons?|restrictions?|violation) | violates?\ .{0,40}polic | local\ policy
    | dmarc | virus | malware | phishing | \[(PH|BL|CS|HVU|RLY)[:0-9]
    """,
    re.IGNORECASE | re.VERBOSE,
)


def is_about_account(reply: Reply) -> bool:
    """Whether a 5yz speaks of our login, our right to relay or our quota, not of this message.

    It would meet every queued message alike, and ends by someone's hand: try again.
    """
    return (
        reply.code in _ACCOUNT_CODES
        or reply.enhanced in _ACCOUNT_ENHANCED
        or bool(_ACCOUNT.search(reply.text))
    )


def is_about_sender(reply: Reply) -> bool:
    """Whether a 5yz refuses the sender identity."""
    return reply.enhanced in _SENDER_ENHANCED or bool(_SENDER.search(reply.text))


def is_policy(reply: Reply) -> bool:
    """Whether a 5yz is a provider's policy or reputation refusal: spam, blocklist, DMARC ..."""
    if not reply.enhanced:
        return bool(_POLICY_ALONE.search(reply.text))
    _, subject, detail = reply.enhanced.split(".")
    if subject != "7":
        return False
    return int(detail) in _POLICY_DETAILS or bool(_POLICY_WITH_CODE.search(reply.text))


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
