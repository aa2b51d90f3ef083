"""Actions of the scripted relay that let a test do something at an exact place of a session."""

import threading
from collections.abc import Callable

from tests.conversation import Action, Conversation, Step


def meanwhile(act: Callable[[], None], reply: Step) -> Action:
    """Return what does *act* before it goes on with *reply*."""

    def do(conversation: Conversation) -> None:
        act()
        conversation.do(reply)

    return do


def held_back(event: threading.Event, reply: Step) -> Action:
    """Return what keeps *reply* until *event* has happened."""

    def do(conversation: Conversation) -> None:
        while not event.is_set():
            conversation.pause(0.02)
        conversation.do(reply)

    return do
