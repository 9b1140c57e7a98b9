"""What people add to the record of a run, in their own words. A pure decision."""

from killdeer.v1.operator_pb2 import RunNote
from killdeer_coordinator.core.books import Audited, Books, Decide, Decision, PutNote
from killdeer_coordinator.core.refusal import Refused

TEXT_MOST = 10_000
ACTION_MOST = 200


def added(run_id: str, who: str, text: str, action: str) -> Decide:
    """`action`: who is to act on it; empty: nobody. Answers the RunNote, or Refused. The audit has it whole, so
    that a note that was changed later is seen."""
    text, action = text.strip(), action.strip()

    def decide(books: Books) -> Decision:
        if (no := _unfit(text, action)) is not None:
            return Decision(answer=no)
        note = RunNote(at_unix_ms=books.now_ms, who=who, text=text, action=action)
        details: dict[str, object] = {"action": action} if action else {}
        answer = RunNote(run=run_id)
        answer.MergeFrom(note)
        return Decision((PutNote(run_id, note),), (Audited(who, "note.added", run_id, text, details),), answer)

    return decide


def _unfit(text: str, action: str) -> Refused | None:
    if not text:
        return _refused("the text is empty", "text", "say what was seen, or what is to be done")
    if len(text) > TEXT_MOST:
        cause = f"the text has {len(text):,} characters, and {TEXT_MOST:,} is the most"
        return _refused(cause, "text", "keep the whole elsewhere, and note where")
    if len(action) > ACTION_MOST:
        cause = f"who is to act on it has {len(action):,} characters, and {ACTION_MOST:,} is the most"
        return _refused(cause, "action", "name a person or a team; the rest belongs in the text")
    return None


def _refused(cause: str, field: str, remedy: str) -> Refused:
    return Refused(code="INVALID_ARGUMENT", message=f"cannot add a note: {cause}", field=field, remedy=remedy)
