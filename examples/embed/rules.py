"""The part of the game that is written in Python: what a line that begins with "/" does."""

import random

asked = 0


def command(player: int, line: str, tick: int) -> str:
    """Returns the answer to `line`, which player number `player` typed at `tick`."""
    global asked
    asked += 1
    word, _, rest = line[1:].partition(" ")
    if word == "roll":
        return f"player {player} rolls {random.randint(1, int(rest or 6))}"
    if word == "shout":
        return rest.upper()
    if word == "count":
        return f"{asked} commands by tick {tick}"
    return "there are /roll [SIDES], /shout TEXT and /count"
