"""The texts of notifications, in the languages of calls; English in all others.

They are shown on locked screens, so they hold nothing of an entry: no title, no lyric, no name.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from daysong.features.phone_calls.talk.languages import main_language
from daysong.features.push_notifications.rules import Kind
from daysong.vendors.openai.tasks import CONTENT_REASON, LENGTH_REASON
from daysong.vendors.suno.answers import failure_reason

LONGEST_BODY = 300
ENGLISH = "en"

# Reasons of failed songs that have a text of their own in other languages.
_WORDS = frozenset({CONTENT_REASON, failure_reason(400), failure_reason(413)})
_LENGTH = frozenset({LENGTH_REASON})


class Texts(msgspec.Struct, frozen=True, kw_only=True):
    """The texts in one language: titles and bodies by kind, and why a song failed.

    failed   the body for any other reason
    words    the words of the entry were not accepted
    length   the entry is too long
    """

    music_ready: tuple[str, str]
    music_failed: str
    failed: str
    words: str
    length: str
    video_ready: tuple[str, str]
    call_missed: tuple[str, str]


TEXTS: Mapping[str, Texts] = {
    "en": Texts(
        music_ready=("Your song is ready", "Tap to listen."),
        music_failed="Your song could not be made",
        failed="The song could not be made this time. It was not counted.",
        words="This entry could not be turned into a song. Changing its words may help.",
        length="This entry is too long to be turned into a song.",
        video_ready=("Your video is ready", "Tap to watch."),
        call_missed=(
            "We could not reach you",
            "Two calls in a row were missed. You can choose another time in the app.",
        ),
    ),
    "de": Texts(
        music_ready=("Dein Lied ist fertig", "Tippe, um es anzuhören."),
        music_failed="Dein Lied konnte nicht entstehen",
        failed="Diesmal ist kein Lied daraus geworden. Es wurde nicht gezählt.",
        words="Aus diesem Eintrag konnte kein Lied werden. Vielleicht helfen andere Worte.",
        length="Dieser Eintrag ist zu lang für ein Lied.",
        video_ready=("Dein Video ist fertig", "Tippe, um es anzusehen."),
        call_missed=(
            "Wir haben dich nicht erreicht",
            "Zwei Anrufe hintereinander wurden verpasst. In der App kannst du eine andere Zeit wählen.",
        ),
    ),
    "fr": Texts(
        music_ready=("Ta chanson est prête", "Touche pour l'écouter."),
        music_failed="Ta chanson n'a pas pu être créée",
        failed="La chanson n'a pas pu être créée cette fois. Elle n'a pas été décomptée.",
        words="Ce texte n'a pas pu devenir une chanson. D'autres mots aideront peut-être.",
        length="Ce texte est trop long pour devenir une chanson.",
        video_ready=("Ta vidéo est prête", "Touche pour la regarder."),
        call_missed=(
            "Nous n'avons pas pu te joindre",
            "Deux appels de suite ont été manqués. Tu peux choisir une autre heure dans l'application.",
        ),
    ),
    "es": Texts(
        music_ready=("Tu canción está lista", "Toca para escucharla."),
        music_failed="No se pudo crear tu canción",
        failed="Esta vez no se pudo crear la canción. No se ha contado.",
        words="Esta entrada no pudo convertirse en canción. Quizá ayude cambiar las palabras.",
        length="Esta entrada es demasiado larga para una canción.",
        video_ready=("Tu vídeo está listo", "Toca para verlo."),
        call_missed=(
            "No pudimos hablar contigo",
            "Se perdieron dos llamadas seguidas. Puedes elegir otra hora en la aplicación.",
        ),
    ),
    "pt": Texts(
        music_ready=("Sua música está pronta", "Toque para ouvir."),
        music_failed="Não foi possível criar sua música",
        failed="Desta vez não foi possível criar a música. Ela não foi contada.",
        words="Este texto não pôde virar música. Mudar as palavras pode ajudar.",
        length="Este texto é longo demais para virar música.",
        video_ready=("Seu vídeo está pronto", "Toque para assistir."),
        call_missed=(
            "Não conseguimos falar com você",
            "Duas ligações seguidas foram perdidas. Você pode escolher outro horário no aplicativo.",
        ),
    ),
    "it": Texts(
        music_ready=("La tua canzone è pronta", "Tocca per ascoltarla."),
        music_failed="Non è stato possibile creare la tua canzone",
        failed="Questa volta non è stato possibile creare la canzone. Non è stata conteggiata.",
        words="Questo testo non è potuto diventare una canzone. Cambiare le parole può aiutare.",
        length="Questo testo è troppo lungo per diventare una canzone.",
        video_ready=("Il tuo video è pronto", "Tocca per guardarlo."),
        call_missed=(
            "Non siamo riusciti a parlarti",
            "Due chiamate di seguito sono andate perse. Nell'app puoi scegliere un altro orario.",
        ),
    ),
    "nl": Texts(
        music_ready=("Je liedje is klaar", "Tik om te luisteren."),
        music_failed="Je liedje kon niet worden gemaakt",
        failed="Het liedje kon deze keer niet worden gemaakt. Het is niet meegeteld.",
        words="Van deze tekst kon geen liedje worden gemaakt. Andere woorden helpen misschien.",
        length="Deze tekst is te lang voor een liedje.",
        video_ready=("Je video is klaar", "Tik om te kijken."),
        call_missed=(
            "We konden je niet bereiken",
            "Twee oproepen na elkaar zijn gemist. In de app kun je een andere tijd kiezen.",
        ),
    ),
    "pl": Texts(
        music_ready=("Twoja piosenka jest gotowa", "Dotknij, aby posłuchać."),
        music_failed="Nie udało się stworzyć piosenki",
        failed="Tym razem nie udało się stworzyć piosenki. Nie została policzona.",
        words="Z tego wpisu nie udało się zrobić piosenki. Może pomoże zmiana słów.",
        length="Ten wpis jest za długi na piosenkę.",
        video_ready=("Twój film jest gotowy", "Dotknij, aby obejrzeć."),
        call_missed=(
            "Nie udało się do Ciebie dodzwonić",
            "Dwa połączenia z rzędu pozostały nieodebrane. W aplikacji możesz wybrać inną porę.",
        ),
    ),
    "ja": Texts(
        music_ready=("曲ができました", "タップして聴いてみましょう。"),
        music_failed="曲を作れませんでした",
        failed="今回は曲を作れませんでした。回数には数えられていません。",
        words="この日記を曲にできませんでした。言葉を変えるとうまくいくかもしれません。",
        length="この日記は曲にするには長すぎます。",
        video_ready=("動画ができました", "タップして見てみましょう。"),
        call_missed=(
            "お電話がつながりませんでした",
            "2回続けてお電話に出られませんでした。アプリで別の時間を選べます。",
        ),
    ),
}


def text_for(kind: Kind, language: str, reason: str | None = None) -> tuple[str, str]:
    """Return title and body of a notification in a language (a BCP 47 tag).

    A failed song has its `reason` for a body: in English the one that the app shows, else the nearest text there is.
    """
    code = main_language(language)
    texts = TEXTS.get(code, TEXTS[ENGLISH])
    match kind:
        case "music_ready":
            return texts.music_ready
        case "video_ready":
            return texts.video_ready
        case "call_missed":
            return texts.call_missed
        case "music_failed":
            return texts.music_failed, _reason(texts, reason)


def _reason(texts: Texts, reason: str | None) -> str:
    if texts is TEXTS[ENGLISH] and reason:
        return reason[:LONGEST_BODY]
    if reason in _WORDS:
        return texts.words
    return texts.length if reason in _LENGTH else texts.failed
