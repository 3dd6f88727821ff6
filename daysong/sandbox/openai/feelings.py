"""The lyricist's vocabulary: the feeling of each word, and the styles and couplets of each feeling."""

from __future__ import annotations

import msgspec


class Feeling(msgspec.Struct, frozen=True):
    """A mood: the words and emoji that give it away, ways for it to sound, and rhymed couplets about an {image}."""

    words: frozenset[str]
    emoji: str
    styles: tuple[str, ...]
    couplets: tuple[tuple[str, str], ...]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# The first of two equally strong feelings wins: the heavier ones come first, since good manners brighten every diary.
FEELINGS: dict[str, Feeling] = {
    "sad": Feeling(
        _words(
            "sad sadly sadness cry cried crying tears tear lost lose loss miss missed missing lonely alone goodbye "
            "grief grieving funeral died dying death dead empty broken broke hurt hurts sorry regret ache heavy "
            "heartbroken depressed divorce buried mourn mourning gone"
        ),
        "😢😭💔😞😔🥀",
        (
            "slow piano ballad, soft strings, minor key, tender female vocal",
            "sparse acoustic guitar, melancholic folk, slow tempo, minor key",
            "dark ambient pop, slow, minor key, breathy vocal",
        ),
        (
            ("Slow falls the evening on {image} and me,", "I'm learning the shape of what used to be."),
            ("I carry {image} the whole way back home,", "it's quieter now, but I'm not on my own."),
            ("Rain on the glass, and {image} in the rain,", "I say it out loud till it softens the pain."),
        ),
    ),
    "angry": Feeling(
        _words(
            "angry anger furious mad hate hated unfair shout shouted shouting yell yelled yelling fight fought "
            "argument argued annoyed rage betrayed liar lied slammed disrespect insulted cheated"
        ),
        "😡😠🤬💢",
        (
            "driving alternative rock, distorted guitars, pounding drums, fast tempo",
            "punk rock, loud guitars, fast tempo, raw vocal",
        ),
        (
            ("Let it burn out, let {image} go loud,", "I won't be a whisper lost in the crowd."),
            ("Enough of {image}, I've bitten my tongue,", "now hear every word of the song left unsung."),
        ),
    ),
    "anxious": Feeling(
        _words(
            "nervous anxious anxiety worry worried worrying afraid scared fear stress stressed stressful deadline "
            "panic overwhelmed exam interview sleepless late rushed pressure tense dread doubt exhausted tired"
        ),
        "😰😟😨😱😓",
        (
            "restless indie electronic, pulsing synth, minor key, mid-tempo",
            "nervous new wave, tight drums, muted guitar, up-tempo",
        ),
        (
            ("Breathe in, breathe out, let {image} be small,", "the wave that I fear is no wave after all."),
            ("One step, and then one, past {image} I go,", "the night is still long but the morning will know."),
        ),
    ),
    "joyful": Feeling(
        _words(
            "happy happily happiness joy joyful laugh laughed laughing laughter smile smiled smiling celebrate "
            "celebrated party dance danced dancing sun sunny sunshine birthday won win winning excited exciting fun "
            "great amazing wonderful awesome best delighted cheer cheered sang singing finally proud promotion"
        ),
        "😀😃😄😁😂🤣😊🎉🥳🌞☀😎✨🌈",
        (
            "upbeat indie pop, bright acoustic guitar, handclaps, major key, up-tempo",
            "sunny funk pop, groovy bass, brass, major key, danceable",
            "feel-good folk pop, ukulele, whistling, major key, lively",
        ),
        (
            ("Sing it out loud and let {image} ring,", "this is the kind of a day that can sing."),
            ("Oh, {image}, turn it up, don't let it end,", "every street light is waving like a friend."),
            ("Hands in the air now for {image} tonight,", "everything heavy is suddenly light."),
        ),
    ),
    "tender": Feeling(
        _words(
            "love loved loving lover kiss kissed hug hugged together heart wedding married baby mother mom mum father "
            "dad daughter son sister brother wife husband girlfriend boyfriend held holding darling sweet cuddle "
            "family"
        ),
        "❤🥰😍😘💕💖💗👶💑",
        (
            "warm acoustic love song, fingerpicked guitar, soft duet, major key, gentle tempo",
            "slow soul ballad, electric piano, warm bass, intimate vocal",
        ),
        (
            ("Stay here beside me with {image} in view,", "the best of the day was the part shared with you."),
            ("Softly the hours and {image} go by,", "your hand into mine and no reason to try."),
        ),
    ),
    "hopeful": Feeling(
        _words(
            "hope hopeful hoping grateful gratitude thankful thanks blessed lucky tomorrow begin began beginning "
            "start started spring dream dreams dreaming plan future healed healing better forward chance ready new"
        ),
        "🙏🌱🌅🌟💪🍀",
        (
            "uplifting indie folk, layered vocals, building drums, major key, mid-tempo",
            "hopeful piano pop, warm strings, major key, anthemic chorus",
        ),
        (
            ("Tomorrow is waiting with {image} to show,", "I'll open the window and tell it hello."),
            ("Thank you for {image}, for one more day,", "small things are lanterns that show me the way."),
        ),
    ),
    "nostalgic": Feeling(
        _words(
            "remember remembered remembering childhood grandmother grandma grandfather grandpa old years photo photos "
            "photograph memory memories yesterday school back ago used reunion attic"
        ),
        "📷🕰📼",
        (
            "nostalgic americana, slide guitar, brushed drums, warm, slow tempo",
            "lo-fi dream pop, tape warmth, mellow synth, mid-tempo",
        ),
        (
            ("Back to the door where {image} came in,", "I still know the place where the stories begin."),
            ("Turn down the light now, let {image} play on,", "nothing we sang of is ever quite gone."),
        ),
    ),
    "calm": Feeling(
        _words(
            "calm quiet quietly peace peaceful slow slowly slept rest rested tea coffee walk walked walking sea lake "
            "river garden forest breeze still evening morning book read reading relaxed relax soft gentle mountains "
            "beach"
        ),
        "😌🌊🍃☕🌙🌿🌲",
        (
            "calm ambient folk, nylon guitar, soft pads, slow tempo, airy vocal",
            "mellow lo-fi jazz, brushed drums, upright bass, relaxed tempo",
        ),
        (
            ("Easy now, easy, and {image} can wait,", "the evening walks in through the old garden gate."),
            ("Let it be still and let {image} be all,", "soft as the light on the opposite wall."),
        ),
    ),
    "reflective": Feeling(
        frozenset(),
        "",
        (
            "warm indie folk, acoustic guitar, gentle vocal, mid-tempo",
            "soft singer-songwriter pop, piano, light drums, mid-tempo",
        ),
        (
            ("Hold on to {image}, hold on to the day,", "I wrote it all down so it won't slip away."),
            ("Somewhere in {image} I find what is true,", "a day is a song when you're listening through."),
        ),
    ),
}
NEUTRAL = "reflective"
# What a bright word means after "not": there is no opposite for the others.
OPPOSITES = {"joyful": "sad", "hopeful": "sad", "calm": "anxious"}
NEGATIONS = _words("not no never without hardly isn't wasn't don't didn't can't couldn't nothing cannot won't")

# Words that carry no picture; their share also tells whether a text is English.
PLAIN = _words(
    "a an the and or but so because then than that this these those there here i me my mine myself we us our you your "
    "he him his she her hers it its they them their to of in on at by for from with without about into over under "
    "after before during between through up down out off as if when while where who what which how why is am are was "
    "were be been being do does did done have has had having will would can could should may might must not no nor "
    "only just very too also again all any both each few more most other some such own same it's i'm i've i'd i'll "
    "he's she's that's there's we're they're don't didn't isn't wasn't couldn't today day got get went go going came "
    "come said told felt feel like really still even ever always one two"
)
PICTURED = _words(
    "old new quiet little small big tiny long cold warm hot dark bright blue red green golden yellow white black grey "
    "gray silver first last empty best broken lost late early morning evening summer winter spring autumn front back "
    "wooden heavy favourite favorite birthday coffee train bus kitchen window"
)
