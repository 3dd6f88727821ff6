"""What people tell on the sandbox's phone: a few days, and how they answer when it is not about their day.

In the scripts a line with `-` is the person's, one with `>` the companion's, and one with `=` the day in the first
person, as a listener would write it down. Lines go on where they are indented.
"""

from __future__ import annotations

import msgspec

Exchange = tuple[str, str]


class Day(msgspec.Struct, frozen=True):
    """A day that a person tells of.

    told     what the person says, and what the companion says to it, turn by turn
    goodbye  the person's last words
    summary  the day as a diary has it
    """

    language: str
    told: tuple[Exchange, ...]
    goodbye: str
    summary: str


class Words(msgspec.Struct, frozen=True):
    """What is said in a language apart from days; the person's words, and the companion's to them.

    yes, no     to the question whether they want to be called
    stop        who does not want to be called again
    lost        who did not get what this is about
    machine     an answering machine
    screening   an assistant that screens calls
    queue       an announcement that one is to wait
    farewell    the companion's last words, if the assistant has none
    declined    what there is to write down of a call that was not wanted
    """

    yes: Exchange
    no: Exchange
    stop: Exchange
    lost: Exchange
    machine: str
    screening: Exchange
    queue: str
    farewell: str
    declined: str


def _lines(script: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for line in script.strip().splitlines():
        mark, _, text = line.strip().partition(" ")
        if mark in {"-", ">", "="}:
            found.append((mark, text))
        else:
            mark, begun = found.pop()
            found.append((mark, f"{begun} {line.strip()}"))
    return found


def _day(language: str, script: str) -> Day:
    *told, (_, goodbye), (_, summary) = _lines(script)
    said = [text for _, text in told]
    return Day(language, tuple(zip(said[::2], said[1::2], strict=True)), goodbye, summary)


def _both(script: str) -> Exchange:
    (_, person), (_, companion) = _lines(script)
    return person, companion


DAYS: dict[str, Day] = {
    "rain": _day(
        "en",
        """
        - Tired, but good. I walked home in the rain because the tram was full, and my shoes are still wet.
        > Wet shoes and a full tram. What did you notice on the way?
        - The bakery on the corner had its lights on, and the whole street smelled of bread.
          I stood there for a minute like a child.
        > That minute sounds warm. Was anybody with you?
        - No. I called my sister when I got home. We laughed about our mother drying our shoes in the oven.
        > What a picture. Shall I keep that one?
        - Yes, keep that. Good night.
        = I walked home in the rain because the tram was full. The bakery on the corner had its lights on and the whole
          street smelled of bread, and I stood there for a minute like a child. At home I called my sister, and we
          laughed about our mother drying our shoes in the oven.
        """,
    ),
    "exam": _day(
        "en",
        """
        - I passed. I actually passed the driving test, on the third try.
        > On the third try! What was the very moment you knew?
        - The examiner took off her glasses and smiled before she said anything. My hands were shaking on the wheel.
        > Shaking hands and a smile. Who heard it first?
        - My neighbour Ruth. She practised parking with me all of October, so I rang her bell and we danced in the
          hallway.
        > Dancing in the hallway. That is a good end for a day.
        - It is. Bye, talk tomorrow.
        = I passed the driving test on the third try. The examiner took off her glasses and smiled before she said
          anything, and my hands were shaking on the wheel. I rang at Ruth's, who practised parking with me all of
          October, and we danced in the hallway.
        """,
    ),
    "river": _day(
        "en",
        """
        - Quiet. I walked by the river after lunch, with nobody around.
        > That sounds calm. What did you notice there?
        - Two herons, very still. One of them caught a fish right in front of me, and I forgot what I was worried about.
        > What had the worry been, if you like to say?
        - Money, as ever. But it got smaller, standing there.
        > Smaller, standing by the water. I will remember that.
        - Thank you. I have to go now, goodbye.
        = I walked by the river after lunch with nobody around. Two herons stood very still, and one of them caught a
          fish right in front of me. I forgot what I was worried about. It was money, as ever, but it got smaller,
          standing there.
        """,
    ),
    "move": _day(
        "en",
        """
        - Strange. We carried the last boxes out of the old flat today, and then it was just empty rooms.
        > Which room was the hardest to leave?
        - The kitchen. There is still the pencil line on the door frame where we measured how tall Mia was.
        > How tall was she at the last line?
        - Up to my elbow. She put her hand on it and said, bye kitchen. I had to look out of the window for a while.
        > Bye, kitchen. Thank you for telling me that.
        - Good night.
        = We carried the last boxes out of the old flat today. In the kitchen there is still the pencil line on the door
          frame where we measured how tall Mia was. She put her hand on it and said, bye kitchen, and I had to look out
          of the window for a while.
        """,
    ),
    "argument": _day(
        "en",
        """
        - Not great. I shouted at Tom about the dishes, and it was never about the dishes.
        > What was it about, do you think?
        - He has been away three weekends in a row, and I miss him. I said it in the end, at eleven, in the dark.
        > And what did he do?
        - He washed the dishes. Then he cancelled Saturday. I cried a bit, but the good kind.
        > The good kind. That is worth keeping.
        - Yes. Bye.
        = I shouted at Tom about the dishes, and it was never about the dishes. He has been away three weekends in a row
          and I miss him. I said it in the end, in the dark. He washed the dishes and cancelled Saturday, and I cried a
          bit, the good kind.
        """,
    ),
    "garden": _day(
        "en",
        """
        - I dug up the last potatoes with my grandfather. He is ninety-one and still corrects how I hold the spade.
        > What did he say about the spade?
        - That I dig like a banker. Then he found one shaped like a heart and put it in his coat pocket for grandma.
        > In his coat pocket. Where was she?
        - At the window, watching us. She waved the whole time.
        > I can see her wave. That is your moment of the day.
        - I think so too. See you.
        = I dug up the last potatoes with my grandfather, who is ninety-one and says that I dig like a banker. He found
          one shaped like a heart and put it in his coat pocket for grandma. She stood at the window and waved the whole
          time.
        """,
    ),
    "snow": _day(
        "de",
        """
        - Schön eigentlich. Heute früh lag der erste Schnee, und die ganze Straße war still.
        > Der erste Schnee. Was hast du als Erstes gemacht?
        - Ich bin ohne Jacke auf den Balkon gegangen und habe die Hand hineingelegt. Mein Kaffee ist dabei
          kalt geworden.
        > Und wer war noch wach?
        - Nur die alte Frau Lenz gegenüber. Wir haben uns zugewinkt, zum ersten Mal in vier Jahren.
        > Zum ersten Mal in vier Jahren. Das behalte ich.
        - Ja, gern. Gute Nacht.
        = Heute früh lag der erste Schnee, und die ganze Straße war still. Ich bin ohne Jacke auf den Balkon gegangen
          und habe die Hand hineingelegt, bis mein Kaffee kalt war. Frau Lenz gegenüber und ich haben uns zugewinkt, zum
          ersten Mal in vier Jahren.
        """,
    ),
}

WORDS: dict[str, Words] = {
    "en": Words(
        yes=_both("""
            - Yes, that's right, I asked for it. Go ahead.
            > Thank you. So, how was your day?
        """),
        no=_both("""
            - No, I never asked for that, and I don't want it.
            > I understand, and I am sorry. You will not be called again. Goodbye.
        """),
        stop=_both("""
            - Please stop calling me. I don't want these calls any more.
            > Of course. I will not call again. Goodbye.
        """),
        lost=_both("""
            - Hello? Who is this? I can't hear you, I'm on a train.
            > Never mind, another time then. Goodbye.
        """),
        machine="Hi, I can't come to the phone right now. Please leave a message after the tone.",
        screening=_both("""
            - Hi, if you record your name and reason for calling, I'll see if this person is available.
            > This is the AI of the diary app daysong, with the call that was asked for.
        """),
        queue="Your call is important to us. All of our lines are busy. Please hold the line.",
        farewell="Good night.",
        declined="The person on the phone did not want the call.",
    ),
    "de": Words(
        yes=_both("""
            - Ja, das stimmt, das habe ich so eingestellt.
            > Danke. Wie war dein Tag?
        """),
        no=_both("""
            - Nein, das habe ich nie bestellt, und ich will das nicht.
            > Verstanden, Entschuldigung. Es ruft niemand mehr an. Auf Wiederhören.
        """),
        stop=_both("""
            - Bitte rufen Sie mich nicht mehr an.
            > Natürlich. Ich rufe nicht mehr an. Auf Wiederhören.
        """),
        lost=_both("""
            - Hallo? Wer ist da? Ich höre nichts, ich bin im Zug.
            > Macht nichts, ein andermal. Auf Wiederhören.
        """),
        machine="Hier ist der Anrufbeantworter. Bitte sprechen Sie nach dem Signalton.",
        screening=_both("""
            - Bitte nennen Sie Ihren Namen und den Grund Ihres Anrufs. Ich frage, ob diese Person erreichbar ist.
            > Hier ist die KI der Tagebuch-App daysong, mit dem bestellten Anruf.
        """),
        queue="Ihr Anruf ist uns wichtig. Alle Leitungen sind besetzt. Bitte bleiben Sie in der Leitung.",
        farewell="Gute Nacht.",
        declined="Die Person am Telefon wollte den Anruf nicht.",
    ),
}
