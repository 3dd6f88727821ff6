"""Phrases of answering machines, by kind, and phrases of people, in the languages of calls.

Patterns match lower-case text with plain apostrophes, and are compiled when a call needs them: that takes 15 ms. Two
phrases of one kind count as one; a kind is unambiguous when people rarely use it in a story. Languages, in order: en,
de, fr, es, pt, it, nl, pl, ja, zh, ko, ru.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

Machine = Literal["mailbox", "screening", "queue"]


class Kind(NamedTuple):
    """A kind of phrase: its machine, and whether it is sufficient alone."""

    machine: Machine
    unambiguous: bool
    pattern: str


def _kind(machine: Machine, *patterns: str, unambiguous: bool = True) -> Kind:
    return Kind(machine, unambiguous, "|".join(patterns))


KINDS: Mapping[str, Kind] = {
    "message": _kind(
        "mailbox",
        r"(?:^|[.,;!?:] ?|\b(?:please|kindly|just|so|or|and|then) )leave (?:me |us |him |her |them )?(?:an? |your )"
        r"(?:(?:short|brief|detailed|name|number|and|,) ?){0,5}message\b",
        r"\brecord (?:your|a) message\b|\bwhen you (?:have|are) finished recording\b",
        r"\bhinterlass(?:en sie|t|e)? (?:(?:uns|mir|bitte|doch|einfach) ){0,3}(?:eine |ihre |"
        r"deine )?(?:kurze )?nachricht",
        r"\bsprechen sie (?:bitte )?(?:nach|ihre nachricht)|\bsprich (?:bitte )?nach",
        r"\blaisse[zr]?(?:[- ](?:nous|moi))? (?:un|votre|ton) (?:petit )?message",
        r"\bdeja?e?(?:nos|me)? (?:un|su|tu|el) (?:breve )?mensaje",
        r"\bdeixe (?:a sua |sua |o seu |seu |uma |um )?(?:mensagem|recado)",
        r"\blasci(?:ate|a)? (?:pure )?(?:un|il (?:tuo|suo|vostro)) messaggio",
        r"\b(?:spreek|laat) (?:dan |gerust )?(?:uw|een|je) (?:korte )?(?:bericht|boodschap)",
        r"\bzostaw(?:cie)? (?:\w+ )?wiadomość|\bproszę (?:o )?(?:zostawi(?:ć|enie)|nagra(?:ć|nie)) (?:\w+ )?wiadomoś",
        r"(?:メッセージ|ご?用件|ご?伝言)を(?:お残し|残して|録音|お話し|お入れ|どうぞ)",
        r"[请請][^。,，]{0,12}留[言下]",
        r"(?:메시지|음성|용건)[을를]? ?(?:남겨|남기|녹음)",
        r"\bоставьте (?:\w+ )?сообщение",
    ),
    "signal": _kind(
        "mailbox",
        r"\b(?:after|at|following) the (?:tone|beep|signal)\b",
        r"\bnach dem (?:signal|piep|pfeif|ton)\w*",
        r"\baprès le (?:bip|signal|top)\b",
        r"\bdespués (?:de la señal|de (?:oír|escuchar) (?:la señal|el tono)|del (?:tono|bip|pitido))",
        r"\b(?:após o|depois do) (?:sinal|bip|tom)\b",
        r"\bdopo il (?:segnale|bip|tono)\b",
        r"\bna de (?:piep|toon|pieptoon)\b",
        r"\bpo (?:usłyszeniu )?(?:sygnale|sygnału)\b",
        r"(?:発信音|信号音|ピーという音)の?(?:あと|後)",
        r"(?:[嘀滴哔嗶]|提示音)[一]?[声聲]?之?[后後]",
        r"(?:삐|신호음)[^.]{0,6}(?:후|뒤)",
        r"\bпосле (?:звукового )?(?:сигнала|гудка)",
        unambiguous=False,
    ),
    "mailbox": _kind(
        "mailbox",
        r"\bvoice ?mail(?:box)?\b|\bmailbox\b|\banswering machine\b",
        r"\b(?:sorry )?(?:i|we)(?:'ve| have)? missed your call",
        r"\b(?:i'll|i will|we'll|we will) (?:get back to|call|ring) you(?: back)?|\breturn your call\b",
        r"\banrufbeantworter\b|\bsprachbox\b",
        r"\b(?:ich|wir) (?:rufe|rufen|melde|melden) (?:\w+ ){0,3}(?:zurück|bei ihnen)",
        r"\b(?:boîte|messagerie) vocale\b|\brépondeur\b|\b(?:je|nous) vous rappell?er\w+",
        r"\bbuzón(?: de (?:voz|mensajes))?\b|\bcontestador\b",
        r"\bcaixa postal\b|\bcorreio de voz\b|\bsegreteria telefonica\b|\bpoczt[aęy] głosow\w+",
        r"留守番電話|語音信箱|语音信箱|留言信箱|음성 ?사서함|\bголосов\w+ почт\w+|\bавтоответчик\w*",
        unambiguous=False,
    ),
    "unavailable": _kind(
        "mailbox",
        r"\b(?:i|we|they|he|she)?(?:'m| am|'re| are|'s| is)? ?(?:can(?:'?t|not| not)|unable to|not able to) "
        r"(?:come to|answer|take|get to|pick up) (?:the|your|my) (?:phone|call)\b(?: right now| at the moment)?",
        r"\b(?:are|is)(?: currently)? (?:not available|unavailable)\b|\bno one is available\b|\bnot in service\b",
        r"\b(?:ich bin|wir sind|ist) (?:\w+ ){0,3}nicht (?:persönlich )?(?:erreichbar|zu erreichen|da)\b",
        r"\b(?:kann|können) (?:\w+ ){0,3}(?:nicht )?(?:ans telefon|ihren anruf|deinen anruf)(?: \w+){0,2}",
        r"\b(?:je ne suis|nous ne sommes|n'est|je suis) pas (?:disponibles?|joignables?)(?: pour le moment)?",
        r"\bne (?:peux|peut|pouvons) pas (?:vous )?(?:répondre|prendre votre appel)",
        r"\bno (?:puedo|podemos|puede) (?:atender|contestar|responder)\w*|"
        r"\bno (?:está|se encuentra|estoy|me encuentro) "
        r"disponible",
        r"\bnão (?:posso|podemos|pode) atender\b|\bnão está disponível\b|\bnon (?:posso|possiamo|può) rispondere\b",
        r"\b(?:kan|kunnen) (?:\w+ ){0,3}niet (?:opnemen|aannemen|beantwoorden|aan de telefoon komen)",
        r"\bnie (?:mogę|możemy|może) (?:\w+ )?odebrać\b",
        r"電話に出(?:ることができ|られ)ません|[无無]法接[通听聽]|전화를 받을 수 없|연결이 되지 않",
        r"\bне мо(?:гу|жем|жет) (?:\w+ )?(?:ответить|подойти)",
    ),
    "dialled": _kind(
        "mailbox",
        r"\b(?:person|number|party|customer|subscriber) (?:that )?you(?:'ve| have|'re| are|'re| were)? "
        r"(?:just )?(?:dialed|dialled|called|calling|trying to (?:reach|call))",
        r"\byou(?:'ve| have) (?:reached|called|dialed)\b|\bforwarded to (?:an? )?(?:\w+ )?voice(?: ?mail| message)",
        r"\b(?:gewünschte|angerufene)r? (?:gesprächspartner|teilnehmer|person|rufnummer)\w*|\b(?:die )?mailbox von\b",
        r"\bdies ist der anschluss\b|\bhier ist der anschluss\b|\bder teilnehmer ist\b",
        r"\bvous êtes (?:bien )?(?:chez|sur (?:le répondeur|la messagerie|la boîte)|en communication)",
        r"\bvotre correspondant",
        r"\b(?:ha|has) llamado (?:a|al)\b|"
        r"\b(?:el número|la persona) (?:al que|a la que|que) (?:usted )?(?:ha |está |has )?"
        r"(?:llama|marca)\w*",
        r"\bo número (?:que você )?(?:ligou|discou|chamado|discado)|\ba pessoa para quem você",
        r"\b(?:il cliente|l'utente|la persona) (?:da lei )?(?:chiamat|desiderat|selezionat)\w",
        r"\b(?:de persoon|het nummer) (?:die|dat) (?:u|je) (?:belt|hebt gebeld|heeft gebeld|probeert)",
        r"\bdit is de voicemail",
        r"\babonent\b|\bwybrany numer\b|\btu poczta głosowa\b",
        r"お[か掛]けになった電話|電波の届かない|留守番電話(?:サービス|に接続)|[您你]所?(?:[拨撥]打|呼叫)的",
        r"지금 거신 전화|고객이 전화|\bабонент\b|\bнабранный (?:вами )?номер",
    ),
    "name": _kind(
        "screening",
        r"\b(?:say|state|record|leave|give|tell me) your (?:full )?name\b",
        r"\b(?:nennen|sagen|sprechen|nenne|sag) (?:sie )?(?:bitte |mir ){0,2}(?:ihren|deinen) namen\b",
        r"\b(?:dites|indiquez|enregistrez|donnez)(?:[- ]moi)? votre nom\b",
        r"\b(?:diga|di|indique|grabe|dígame) (?:su|tu) nombre\b|\bdiga (?:o )?seu nome\b",
        r"\b(?:dica|dite|pronunci|registri) il (?:suo|tuo|vostro) nome\b|\b(?:zeg|noem|spreek) (?:uw|je) naam\b",
        r"\b(?:podaj|powiedz|proszę podać) (?:swoje )?imię",
        r"お名前(?:と|を|、)(?:お?電話の理由|通話の理由|お話し|おっしゃ|録音)",
        r"[请請][^。,，]{0,4}[说說录錄][^。,，]{0,4}[您你]的(?:姓名|名字)",
        r"(?:성함|이름)[과을를]?[^.]{0,12}(?:말씀|녹음)",
        r"\b(?:назовите|скажите|запишите) (?:ваше |своё |свое )?имя",
    ),
    "reason": _kind(
        "screening",
        r"\breason (?:for|of) (?:your call|the call|calling|your calling)|\bwhy you(?:'re| are) calling\b",
        r"\bwho(?:'s| is) calling\b|\bgrund (?:für )?(?:ihre[sn]?|deine[sn]?|des) anruf\w*|\bwarum sie anrufen\b",
        r"\b(?:la raison|le motif|l'objet) de votre appel|\bpourquoi vous appelez\b",
        r"\b(?:el )?motivo de (?:su|tu|la) llamada\b|\bmotivo d[ae] (?:sua )?(?:ligação|chamada)\b",
        r"\b(?:il )?motivo della (?:sua |tua )?chiamata\b|\breden van (?:uw|je) (?:oproep|telefoontje)\b",
        r"\bwaarom u belt\b",
        r"\b(?:powód|cel) (?:połączenia|rozmowy|telefonu)\b|(?:電話|通話)の理由|[来來]電[原事]因?",
        r"전화하신 (?:이유|용건)",
        r"\b(?:цель|причину) (?:вашего )?звонка",
        unambiguous=False,
    ),
    "availability": _kind(
        "screening",
        r"\bsee if (?:this|the) person is available|\bscreening service\b|\bcall screening\b",
        r"\bcopy of this conversation",
        r"\b(?:ob|dass) (?:diese|die) person (?:erreichbar|verfügbar|rangehen)",
        r"\bsi (?:cette|la) personne est (?:disponible|joignable)|\bsi (?:esta|la) persona está disponible",
        r"\bse (?:esta|a) pessoa está disponível|\bse (?:questa|la) persona è disponibile",
        r"\bof deze persoon beschikbaar",
        r"\bczy ta osoba jest dostępna|応答できるか|電話に出られるか|是否方便接|통화 가능한지|\bможет ли этот абонент",
    ),
    "wait": _kind(
        "queue",
        r"\b(?:please )?(?:hold|stay on|remain on) the line\b|\bplease (?:hold|wait) (?:while|for)\b",
        r"\bplease hold\b(?! on)",
        r"\b(?:please )?(?:do not|don't) hang up\b|\bbleiben sie (?:bitte )?(?:dran|in der leitung|am apparat)",
        r"\bbitte (?:warten|bleiben) sie\b|\b(?:bitte )?legen sie nicht auf\b|\bne quittez pas\b",
        r"\bveuillez patienter\b",
        r"\b(?:por favor )?no cuelgue\b|\b(?:permanezca|manténgase|espere) en (?:la )?línea\b",
        r"\baguarde na linha\b|\bnão desligue\b|\b(?:resti|rimanga|attenda|restate) in (?:linea|attesa)\b",
        r"\bblijf(?:t u)? aan de lijn\b|\bproszę (?:czekać|nie rozłączać)|(?:しばらく|少々|そのまま)お待ちください",
        r"[请請](?:稍[候等]|不要[挂掛][断斷机機])|잠시만? 기다려|\bоставайтесь на линии\b",
        r"\bожидайте (?:ответа|на линии)\b",
    ),
    "queue": _kind(
        "queue",
        r"\byour call is (?:very )?important\b(?: to us)?|\bnext available (?:agent|representative|operator|advisor)",
        r"\b(?:all|our) (?:of )?(?:our )?(?:\w+ )?(?:agents|operators|representatives|advisors|lines) are\b",
        r"\bcalls? (?:may|will|is|are) (?:be )?(?:being )?(?:recorded|monitored)\b|\bestimated wait",
        r"\bihr anruf ist uns (?:sehr )?wichtig\b|\balle (?:unsere )?(?:mitarbeiter|leitungen|plätze)\w*\b",
        r"\bnächste[rn]? freie[rn]? mitarbeiter\w*|\bvotre appel est (?:très )?important\b",
        r"\b(?:tous )?nos (?:conseillers|lignes|opérateurs) (?:sont|actuellement)\b",
        r"\bsu llamada es (?:muy )?importante\b",
        r"\b(?:todos )?nuestros (?:agentes|operadores|asesores) (?:están|se)\b",
        r"\bsua (?:ligação|chamada) é (?:muito )?import",
        r"\b(?:todos os )?nossos (?:atendentes|agentes) est|\bla (?:sua|vostra) chiamata è (?:molto )?importante\b",
        r"\btutti (?:i nostri )?operatori sono\b|\bal onze (?:medewerkers|lijnen)\b|\bwszyscy (?:nasi )?konsultanci\b",
        r"(?:電話|回線)が(?:大変)?(?:混み合|込み合)|[坐座]席[全正]?忙|상담원이? ?(?:모두)? ?통화",
        r"\bваш звонок (?:очень )?важен",
    ),
    "keys": _kind(
        "queue",
        r"\b(?:press|dial) (?:\d|zero|one|two|three|four|five|six|nine|star|pound|hash)\b",
        r"\b(?:drücken|wählen) sie (?:bitte )?(?:die )?(?:\d|null|eins|zwei|drei|raute|stern)",
        r"\b(?:tapez|appuyez sur(?: le)?) (?:\d|un|deux|trois|étoile|dièse)\b",
        r"\b(?:marque|pulse|presione|oprima) (?:el )?(?:\d|uno|dos|tres|cero)\b",
        r"\b(?:digite|tecle) (?:\d|um|dois|três)\b",
        r"\b(?:prema|digiti|premere) (?:il (?:tasto )?)?(?:\d|uno|due|tre)\b",
        r"\b(?:toets|kies|druk op) (?:een )?(?:\d|één|twee)",
        r"\b(?:wciśnij|naciśnij|wybierz) (?:\d|jeden|dwa)\b|\d番?を押して|[请請]按\s?[\d一二三]",
        r"\d번[을를]? ?(?:눌러|누르)",
        r"\bнажмите (?:\d|один|два)\b",
    ),
}

FIRST_PERSON = (
    r"\b(?:i|i'\w+|me|my|mine|myself|we|we'\w+|us|our|ours|ich|mich|mir|mein\w*|wir|uns\w*|je|moi|mon|ma|mes|nous|"
    r"notre|"
    r"nos|on|j'\w+|m'\w+|yo|mi|mis|nosotr\w+|nuestr\w+|eu|mim|meus?|minhas?|nós|nossos?|nossas?|a gente|io|mio|mia|"
    r"miei|"
    r"mie|noi|ci|nostr\w|ho|abbiamo|ik|mij|mijn|wij|ons|onze|ja|mnie|mną|mój|moj\w+|nas|nasz\w*|\w+ł[ea]m|\w+liśmy|"
    r"я|мне|меня|мной|мой|моя|моё|мое|мои|мою|мы|нас|нам|наш\w*)\b"
    r"|私|僕|俺|わたし|ぼく|我|나는|나도|내가|저는|제가|우리"
)

# A story rather than an announcement: quoted words, past events.
TELLS = (
    r"\b(?:said|says|saying|told|tells|asked|heard|laughed|cried|felt|remember\w*|because|yesterday|tonight|"
    r"(?:i|we|he|she|they|it|and|then) (?:was|were|had|did|got|went|left|saw|made|took|thought|found|met|kept|sat|ate|"
    r"ran|came|gave|knew|sang|slept|\w{2,}ed))\b"
    r"|"
    r"\b(?:sagt\w*|gesagt|erzähl\w+|hörte\w*|gehört|lacht\w*|gelacht|weint\w*|geweint|gestern|weil|(?:ich|wir|er|"
    r"sie|es) "
    r"(?:hab\w*|hatte\w*|war\w*|musst\w*|wollt\w*|ging\w*|kam\w*)|(?:habe|haben|hatte|war|bin) (?:ich|wir))\b"
    r"|\b(?:j'ai|j'étais|j'avais|on a|nous avons|a dit|disait|dit|m'a|c'était|parce|hier (?:soir|matin))\b|"
    r"\bje (?:me|m'|l'ai)"
    r"|\b(?:dij[eo]|decía|dice|ayer|porque|he \w+[ai]do|hemos|fui|estuve|estaba|había|reí|lloré)\b"
    r"|\b(?!(?:aquí|así|sí|allí|ahí|qué|también|café|veré)\b)\w{2,}[éí]\b"
    r"|\b(?:disse|diz|falou|ontem|estava|chorei|\w{2,}ei)\b"
    r"|\b(?:ho|abbiamo|ha|aveva) \w+[aiu]to\b|\b(?:ieri|perché|dice|diceva|ero|mi sono)\b"
    r"|\b(?:zei|zegt|vertelde|gisteren|omdat|(?:ik|we|wij) (?:heb|hebben|had|hadden|was|waren|ben)|heb ik)\b"
    r"|\b(?:powiedzia\w+|mówi\w*|wczoraj|bo|\w+ł[ea]m|\w+liśmy|\w+łyśmy)\b"
    r"|\b(?:сказал\w*|говорит|вчера|потому|я \w+л[аи]?|мы \w+ли)\b"
    r"|言(?:っ|い|う)|昨日|今日|ました|でした|だった|[っん][ただ]|泣|笑|昨天|今天|我[^。]{0,10}了|[哭笑]了|어제|"
    r"오늘|[했었았]"
)

# Short answers, and wishes not to be called: only people give them.
ANSWERS = (
    r"\b(?:yes|yeah|yep|nope|stop|don't|never|remove|unsubscribe|nein|aufhören|rufen sie (?:mich )?nicht|oui|arrêtez|"
    r"sí|basta|sim|nee|tak|stoppen|да|нет|хватит)\b|(?:^|[.!?;|,] *)(?:no|ja|non|não|nie)(?: *[,.!?;|]|$)"
    r"|\bdo not (?:call|ring|phone)|はい|いいえ|やめて|結構です|不要(?!挂|掛)|不用|是的|아니|그만|^네|[.] ?네"
)
