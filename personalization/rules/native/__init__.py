"""Segments as the platforms' own: rules compiled to what Mailchimp, HubSpot, listmonk and Salesforce can express.

    normal_form   a rule as tests of single fields without NOT, in which undecided people have been settled
    sent          which of the fields a destination is sent, and under which names
    mailchimp, hubspot, sql   the same in a platform's own form
    definitions   all segments of a program at a destination: the definition, or the reasons why there is none

Whatever a compiler does not know is refused with a reason. docs/native-segments.md is the user's page.
"""

from personalization.rules.native.definitions import (
    Native,
    check_native,
    in_words,
    native_segment,
    native_segments,
)
from personalization.rules.native.reasons import Reason

__all__ = ["Native", "Reason", "check_native", "in_words", "native_segment", "native_segments"]
