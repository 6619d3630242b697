from tests.exercises.exercise_10_transcript import Passed


def explain(transcript: list[Passed]) -> tuple[str, str] | None:
    holder: dict[str, str] = {}
    for one in transcript:
        if one.method != "basic.get-ok":
            holder.pop(one.body, None)
        elif one.redelivered and one.body in holder:
            return holder[one.body], one.body
        else:
            holder[one.body] = one.worker
    return None
