"""Machines are recognized by what is said, and a person's story is never taken for a machine's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daysong.features.phone_calls.talk.machines import machine_on
from daysong.vendors.vapi.reports import Turn

QUESTION = Turn("assistant", "Hi Alice! What is one moment from today that has stayed with you?")
GOODBYE = Turn("assistant", "Take care. Goodbye.")

MAILBOXES = [
    "Hi, you've reached Bob. I can't come to the phone right now. Please leave a message after the tone.",
    "Hi, I can’t come to the phone right now. Please leave a message after the tone.",
    "Hey, it's Charlie, I'm out with the dogs. Leave me a message and I'll call you back.",
    "Your call has been forwarded to an automatic voice message system. At the tone, please record your message.",
    "The person you are trying to reach is not available.",
    "Guten Tag, hier ist die Mailbox von Bob. Bitte hinterlassen Sie eine Nachricht nach dem Signal.",
    "Hier ist der Anrufbeantworter. Bitte sprechen Sie nach dem Signalton.",
    "Hallo, ich bin gerade nicht erreichbar. Hinterlass mir eine Nachricht, ich rufe dich zurück.",
    "Bonjour, vous êtes bien chez Charlie. Je ne suis pas disponible. Laissez un message après le bip.",
    "Hola, ahora no puedo atenderte. Deja tu mensaje después de la señal.",
    "El número al que usted llama no está disponible. Deje un mensaje en el buzón de voz.",
    "Olá, não posso atender agora. Deixe a sua mensagem após o sinal.",
    "Ciao, in questo momento non posso rispondere. Lasciate un messaggio dopo il segnale acustico.",
    "Hallo, dit is de voicemail van Bob. Spreek een bericht in na de piep.",
    "Tu poczta głosowa. Abonent jest niedostępny. Zostaw wiadomość po sygnale.",
    "留守番電話サービスに接続します。発信音のあとにメッセージをお話しください。",
    "ただいま電話に出ることができません。発信音の後にお名前とご用件をお話しください。",
    "您好,您拨打的电话暂时无法接通,请在嘀声后留言。",
    "지금은 전화를 받을 수 없습니다. 삐 소리 후에 메시지를 남겨 주세요.",
    "Абонент не может ответить. Оставьте сообщение после сигнала.",
]
PROMPTS = [
    "Hi, if you record your name and reason for calling, I'll see if this person is available.",
    "Record your name and reason for calling. I'll see if this person is available. Thanks. Please stay on the line.",
    "The person you're calling is using a screening service. Go ahead and say your name and why you're calling.",
    "Please state your name and why you are calling.",
    "Bitte nennen Sie Ihren Namen und den Grund Ihres Anrufs. Ich frage, ob diese Person erreichbar ist.",
    "Dites votre nom et la raison de votre appel, je vérifie si cette personne est disponible.",
    "Diga su nombre y el motivo de su llamada, y veré si esta persona está disponible.",
    "お名前と電話の理由をお話しください。",
]
QUEUES = [
    "Your call is very important to us. Please hold the line. All of our agents are busy.",
    "For sales, press one. For support, press two.",
    "Ihr Anruf ist uns wichtig. Bitte bleiben Sie in der Leitung.",
    "Ne quittez pas, tous nos conseillers sont occupés.",
    "Su llamada es muy importante para nosotros. Por favor, no cuelgue.",
    "ただいま電話が大変混み合っております。そのままお待ちください。",
]
MACHINES = [
    *((words, "mailbox") for words in MAILBOXES),
    *((words, "screening") for words in PROMPTS),
    *((words, "queue") for words in QUEUES),
]
PEOPLE = [
    "Yes.",
    "I walked by the river with Bob and we saw a heron.",
    "I left Bob a voicemail and felt relieved.",
    "I cried at the beep of the monitor.",
    "My mother rang and I let her leave a message. Then I cried on the stairs.",
    "My boss said please leave a message after the tone and I laughed for ten minutes.",
    "Grandma's answering machine still says please leave a message after the tone.",
    "I got his voicemail again. You've reached Tom, leave a message after the beep. I hung up.",
    "We were on hold for two hours, your call is important to us, and Bob danced in the kitchen.",
    "They told me to press one, then press two, and then the line was dead.",
    "I can't come to the phone when the baby sleeps, and she slept on me all day.",
    "The number you have dialed, that old voice, and there was my father's number.",
    "Please hold the line, that is what the nurse said when the heart monitor went quiet.",
    "A robot wanted me to state my name and the reason for my call. I was only ordering flowers.",
    "The doctor called. She is not available on Friday, so we wait, and waiting is hard.",
    "Who is calling? No, I don't want this.",
    "Please leave a message? No. Stop calling.",
    "Please remove this number from your mailing and contact list. Thanks and goodbye.",
    "Ich habe Bob eine Nachricht hinterlassen, nach dem Piep, und danach war mir leichter.",
    "Auf ihrer Mailbox sagt Oma noch: Bitte hinterlassen Sie eine Nachricht nach dem Ton. Ich habe geweint.",
    "J'ai laissé un message après le bip, et j'ai pleuré dans la voiture.",
    "Dejé un mensaje después de la señal y me sentí mejor.",
    "No puedo atender a mis hijos y trabajar a la vez, hoy lloré en la cocina.",
    "Deixei uma mensagem após o sinal e fiquei aliviada.",
    "Ho lasciato un messaggio dopo il segnale e poi ho riso da sola.",
    "Ik heb een bericht ingesproken na de piep en toen moest ik lachen.",
    "Zostawiłam wiadomość po sygnale i poczułam ulgę.",
    "留守番電話にメッセージを残して、少し泣きました。",
    "我在提示音后给妈妈留言,然后我哭了。",
    "엄마 음성 사서함에 메시지를 남기고 울었어요.",
    "Я оставила сообщение после сигнала и заплакала.",
]
# A story has none of a machine's phrases in it.
_STORY = """
    walked home rain bread river heron kitchen sister garden potatoes laughed slowly snow balcony coffee cold hand
    window because then and the a with my our blue morning again quiet street old
"""


@pytest.mark.parametrize(("words", "machine"), MACHINES)
@pytest.mark.parametrize("before", [[], [QUESTION]], ids=["first", "after the question"])
def test_g22_machines_are_known_by_their_phrases(words: str, machine: str, before: list[Turn]) -> None:
    """A mailbox, a prompt that screens, a queue: whether it speaks first or into the assistant's words."""
    assert machine_on([*before, Turn("user", words), GOODBYE]) == machine


@pytest.mark.parametrize("words", PEOPLE)
@pytest.mark.parametrize("before", [[], [QUESTION]], ids=["first", "after the question"])
def test_g22_what_a_person_tells_is_no_machine(words: str, before: list[Turn]) -> None:
    """Also when machines occur in it, and in any language."""
    assert machine_on([*before, Turn("user", words), GOODBYE]) is None


@pytest.mark.parametrize(("words", "machine"), MACHINES)
@given(answer=st.sampled_from(["Yes.", "Hello?", "Hi, it's Bob here.", "Ja, gern.", "もしもし。"]))
def test_g22_a_person_who_answers_after_a_machine_is_a_person(words: str, machine: str, answer: str) -> None:
    """A call that was screened and then taken is a talk."""
    assert machine_on([Turn("user", words)]) == machine
    assert machine_on([Turn("user", words), QUESTION, Turn("user", answer)]) is None


@given(
    machine=st.sampled_from([words for words, _ in MACHINES]),
    words=st.lists(st.sampled_from(_STORY.split()), min_size=25, max_size=60),
    place=st.sampled_from(["before", "after", "within", "answer"]),
    question=st.booleans(),
)
def test_g22_with_a_story_of_25_words_a_call_is_a_persons(
    machine: str, words: list[str], place: str, question: bool
) -> None:
    """Whatever else was said, and wherever the story stands."""
    story = f"I {' '.join(words)}."
    said = {
        "before": [Turn("user", story), Turn("user", machine)],
        "after": [Turn("user", machine), Turn("user", story)],
        "within": [Turn("user", f"{machine} {story}")],
        "answer": [Turn("user", machine), QUESTION, Turn("user", story)],
    }[place]
    assert machine_on([*([QUESTION] if question else []), *said]) is None


@given(st.text(max_size=300), st.text(max_size=300))
def test_g22_an_answer_without_a_phrase_is_a_persons(before: str, answer: str) -> None:
    """Any words; what was said before the question does not matter, and no text breaks the rule."""
    if any(map(str.isalnum, answer)) and machine_on([Turn("user", answer)]) is None:
        assert machine_on([Turn("user", before), QUESTION, Turn("user", answer)]) is None


def test_g22_nobody_is_no_machine() -> None:
    """Silence is known by the end of the call."""
    assert machine_on([]) is None
    assert machine_on([QUESTION, Turn("user", " … ")]) is None
