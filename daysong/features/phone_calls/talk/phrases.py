"""The assistant's fixed sentences, by language."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Phrases(msgspec.Struct, frozen=True, kw_only=True):
    """Fixed sentences in one language; formal on the first call, informal later.

    intro      without consent: who is calling, {owner}, the purpose, and the question for consent
    owner      that {name}, the account's owner, asked for the call; `unnamed` without a name
    greeting   with consent: a hello with {name}, who is calling, the purpose
    name       how {name} is put into the greeting
    today      the opening question; `yesterday` early in the day
    closing    the last sentence before hanging up
    unknown    to a caller who is not known
    no_minutes to a caller whose plan has no minutes left
    day_limit  to a caller when a daily cap is reached
    """

    intro: str
    owner: str
    unnamed: str
    name: str
    greeting: str
    today: str
    yesterday: str
    closing: str
    unknown: str
    no_minutes: str
    day_limit: str


PHRASES: Mapping[str, Phrases] = {
    "en": Phrases(
        intro="Hello, this is an AI, a computer voice, from the diary app daysong. {owner} Our talk would be written "
        "down as a diary and become a song. Is that right, and would you like that?",
        owner="{name}, who has an account there, asked for this call.",
        unnamed="Somebody with an account there asked for this call.",
        name=" {name}",
        greeting="Hi{name}! It's your AI companion from daysong; what we say becomes your diary and a song.",
        today="What is one moment from today that has stayed with you?",
        yesterday="What is one moment since yesterday that has stayed with you?",
        closing="Take care. Goodbye.",
        unknown="Hello, this is an AI from the diary app daysong. Sorry, I do not know this number, so I cannot talk "
        "with you. You can set up calls in the app. Goodbye.",
        no_minutes="Hi! It's your AI companion from daysong. You have used all your minutes of this period, so we "
        "cannot talk today. Goodbye.",
        day_limit="Hi! It's your AI companion from daysong. The limit for today is reached, so we cannot talk "
        "until tomorrow. Goodbye.",
    ),
    "de": Phrases(
        intro="Guten Tag, hier spricht eine KI, eine Computerstimme, von der Tagebuch-App daysong. {owner} Unser "
        "Gespräch würde als Tagebuch aufgeschrieben und zu einem Lied werden. Stimmt das so, und möchten Sie das?",
        owner="{name} hat dort ein Konto und um diesen Anruf gebeten.",
        unnamed="Jemand mit einem Konto dort hat um diesen Anruf gebeten.",
        name=" {name}",
        greeting="Hallo{name}! Hier ist deine KI-Begleitung von daysong; was du erzählst, wird Tagebuch und Lied.",
        today="Welcher Moment von heute ist dir im Kopf geblieben?",
        yesterday="Welcher Moment seit gestern ist dir im Kopf geblieben?",
        closing="Alles Gute, und auf Wiederhören.",
        unknown="Guten Tag, hier spricht eine KI von der Tagebuch-App daysong. Leider kenne ich diese Nummer nicht "
        "und kann deshalb nicht mit Ihnen sprechen. Anrufe lassen sich in der App einrichten. Auf Wiederhören.",
        no_minutes="Hallo! Hier ist deine KI-Begleitung von daysong. Deine Gesprächsminuten für diesen Zeitraum sind "
        "aufgebraucht, deshalb können wir heute nicht reden. Auf Wiederhören.",
        day_limit="Hallo! Hier ist deine KI-Begleitung von daysong. Die Grenze für heute ist erreicht, deshalb können "
        "wir erst morgen wieder reden. Auf Wiederhören.",
    ),
    "fr": Phrases(
        intro="Bonjour, ici une intelligence artificielle, une voix d'ordinateur, de l'application de journal intime "
        "daysong. {owner} Notre conversation serait notée comme journal et deviendrait une chanson. Est-ce bien cela, "
        "et le souhaitez-vous ?",
        owner="{name} y a un compte et a demandé cet appel.",
        unnamed="Une personne qui y a un compte a demandé cet appel.",
        name=" {name}",
        greeting="Bonjour{name} ! Ici ton compagnon IA de daysong ; ton récit devient ton journal et une chanson.",
        today="Quel moment d'aujourd'hui t'est resté en tête ?",
        yesterday="Quel moment depuis hier t'est resté en tête ?",
        closing="Bonne continuation, et au revoir.",
        unknown="Bonjour, ici une intelligence artificielle de l'application de journal intime daysong. Désolée, je "
        "ne connais pas ce numéro et ne peux donc pas parler avec vous. Les appels se règlent dans l'application. Au "
        "revoir.",
        no_minutes="Bonjour ! Ici ton compagnon IA de daysong. Tu as utilisé toutes tes minutes de cette période, nous "
        "ne pouvons donc pas parler aujourd'hui. Au revoir.",
        day_limit="Bonjour ! Ici ton compagnon IA de daysong. La limite d'aujourd'hui est atteinte, nous ne pourrons "
        "donc parler que demain. Au revoir.",
    ),
    "es": Phrases(
        intro="Hola, le habla una inteligencia artificial, una voz de ordenador, de la aplicación de diario daysong. "
        "{owner} Nuestra conversación se escribiría como diario y se convertiría en una canción. ¿Es correcto, y le "
        "gustaría?",
        owner="{name} tiene una cuenta allí y ha pedido esta llamada.",
        unnamed="Una persona con una cuenta allí ha pedido esta llamada.",
        name=", {name}",
        greeting="¡Hola{name}! Soy tu compañía de IA de daysong; lo que me cuentes será tu diario y una canción.",
        today="¿Qué momento de hoy se te ha quedado grabado?",
        yesterday="¿Qué momento desde ayer se te ha quedado grabado?",
        closing="Que vaya muy bien. Adiós.",
        unknown="Hola, le habla una inteligencia artificial de la aplicación de diario daysong. Lo siento, no conozco "
        "este número y no puedo hablar con usted. Las llamadas se configuran en la aplicación. Adiós.",
        no_minutes="¡Hola! Soy tu compañía de IA de daysong. Has usado todos tus minutos de este período, así que "
        "hoy no podemos hablar. Adiós.",
        day_limit="¡Hola! Soy tu compañía de IA de daysong. Se ha alcanzado el límite de hoy, así que no podemos "
        "hablar hasta mañana. Adiós.",
    ),
    "pt": Phrases(
        intro="Olá, aqui fala uma inteligência artificial, uma voz de computador, do aplicativo de diário daysong. "
        "{owner} A nossa conversa seria escrita como diário e viraria uma música. Está certo, e é isso que deseja?",
        owner="{name} tem uma conta lá e pediu esta ligação.",
        unnamed="Alguém com uma conta lá pediu esta ligação.",
        name=", {name}",
        greeting="Olá{name}! Aqui é a sua companhia de IA do daysong; o que você contar vira diário e música.",
        today="Que momento de hoje ficou com você?",
        yesterday="Que momento desde ontem ficou com você?",
        closing="Tudo de bom, e até logo.",
        unknown="Olá, aqui fala uma inteligência artificial do aplicativo de diário daysong. Desculpe, não conheço "
        "este número e por isso não posso conversar. As ligações são configuradas no aplicativo. Até logo.",
        no_minutes="Olá! Aqui é a sua companhia de IA do daysong. Você usou todos os seus minutos deste período, por "
        "isso hoje não podemos conversar. Até logo.",
        day_limit="Olá! Aqui é a sua companhia de IA do daysong. O limite de hoje foi atingido, por isso só podemos "
        "conversar amanhã. Até logo.",
    ),
    "it": Phrases(
        intro="Buongiorno, qui parla un'intelligenza artificiale, una voce di computer, dell'app di diario daysong. "
        "{owner} La nostra conversazione verrebbe scritta come diario e diventerebbe una canzone. È giusto così, e lo "
        "desidera?",
        owner="{name} ha un account lì e ha chiesto questa chiamata.",
        unnamed="Una persona con un account lì ha chiesto questa chiamata.",
        name=" {name}",
        greeting="Ciao{name}! Qui è la tua compagnia IA di daysong; ciò che racconti diventa diario e canzone.",
        today="Quale momento di oggi ti è rimasto in mente?",
        yesterday="Quale momento da ieri ti è rimasto in mente?",
        closing="Tante buone cose, e arrivederci.",
        unknown="Buongiorno, qui parla un'intelligenza artificiale dell'app di diario daysong. Mi dispiace, non "
        "conosco questo numero e non posso parlare con Lei. Le chiamate si impostano nell'app. Arrivederci.",
        no_minutes="Ciao! Qui è la tua compagnia IA di daysong. Hai usato tutti i tuoi minuti di questo periodo, "
        "quindi oggi non possiamo parlare. Arrivederci.",
        day_limit="Ciao! Qui è la tua compagnia IA di daysong. Il limite di oggi è stato raggiunto, quindi potremo "
        "parlare solo domani. Arrivederci.",
    ),
    "nl": Phrases(
        intro="Goedendag, u spreekt met een AI, een computerstem, van de dagboekapp daysong. {owner} Ons gesprek zou "
        "als dagboek worden opgeschreven en een liedje worden. Klopt dat, en wilt u dat?",
        owner="{name} heeft daar een account en heeft om dit gesprek gevraagd.",
        unnamed="Iemand met een account daar heeft om dit gesprek gevraagd.",
        name=" {name}",
        greeting="Hoi{name}! Met je AI-maatje van daysong; wat je vertelt, wordt je dagboek en een liedje.",
        today="Welk moment van vandaag is je bijgebleven?",
        yesterday="Welk moment sinds gisteren is je bijgebleven?",
        closing="Het allerbeste, en tot ziens.",
        unknown="Goedendag, u spreekt met een AI van de dagboekapp daysong. Helaas ken ik dit nummer niet, dus ik kan "
        "niet met u praten. Gesprekken stelt u in de app in. Tot ziens.",
        no_minutes="Hoi! Met je AI-maatje van daysong. Je hebt al je minuten van deze periode gebruikt, dus we kunnen "
        "vandaag niet praten. Tot ziens.",
        day_limit="Hoi! Met je AI-maatje van daysong. De limiet van vandaag is bereikt, dus we kunnen pas morgen "
        "weer praten. Tot ziens.",
    ),
    "pl": Phrases(
        intro="Dzień dobry, mówi sztuczna inteligencja, głos komputera, z aplikacji do pamiętnika daysong. {owner} "
        "Nasza rozmowa zostałaby zapisana jako pamiętnik i stałaby się piosenką. Czy to się zgadza i czy jest na to "
        "zgoda?",
        owner="O ten telefon poprosiła osoba o imieniu {name}, która ma tam konto.",
        unnamed="O ten telefon poprosiła osoba, która ma tam konto.",
        name=" {name}",
        greeting="Cześć{name}! Tu twój towarzysz AI z daysong; twoja opowieść będzie pamiętnikiem i piosenką.",
        today="Jaka chwila z dzisiaj została ci w pamięci?",
        yesterday="Jaka chwila od wczoraj została ci w pamięci?",
        closing="Wszystkiego dobrego i do widzenia.",
        unknown="Dzień dobry, mówi sztuczna inteligencja z aplikacji do pamiętnika daysong. Niestety nie znam tego "
        "numeru, więc nie mogę rozmawiać. Rozmowy ustawia się w aplikacji. Do widzenia.",
        no_minutes="Cześć! Tu twój towarzysz AI z daysong. Wszystkie minuty w tym okresie zostały wykorzystane, więc "
        "dziś nie możemy porozmawiać. Do widzenia.",
        day_limit="Cześć! Tu twój towarzysz AI z daysong. Dzisiejszy limit został osiągnięty, więc możemy "
        "porozmawiać dopiero jutro. Do widzenia.",
    ),
    "ja": Phrases(
        intro="こんにちは。日記アプリdaysongのAI、コンピューターの声です。{owner}この会話は日記として書き留められ、"
        "歌になります。お間違いないでしょうか。また、それをお望みでしょうか。",
        owner="アカウントをお持ちの{name}さんから、この電話のご依頼をいただきました。",
        unnamed="アカウントをお持ちの方から、この電話のご依頼をいただきました。",
        name="{name}さん、",
        greeting="{name}こんにちは。daysongのAIコンパニオンです。お話は日記と歌になります。",
        today="今日、心に残っている場面を一つ教えてください。",
        yesterday="昨日から今までで、心に残っている場面を一つ教えてください。",
        closing="ありがとうございました。失礼いたします。",
        unknown="こんにちは。日記アプリdaysongのAIです。申し訳ありませんが、こちらの番号は登録されていないため、"
        "お話しすることができません。お電話の設定はアプリで行えます。失礼いたします。",
        no_minutes="こんにちは。daysongのAIコンパニオンです。今の期間の通話時間を使い切ったため、今日はお話しできません。"
        "失礼いたします。",
        day_limit="こんにちは。daysongのAIコンパニオンです。本日の上限に達したため、お話しできるのは明日からです。"
        "失礼いたします。",
    ),
}
