"""Word lists: function words, scene lexicons, settings, and titles.

The offline annotator computes vectors from the scene lexicons (trajectory specification 2.5). They are written for
narrative English of the last three centuries. Words are compared by ``stem``, so one entry covers a verb's regular
forms.
"""

from functools import lru_cache


@lru_cache(maxsize=1 << 16)
def stem(word: str) -> str:
    """Strips common suffixes. It need not be right, only consistent: it is applied to both lexicon and text."""
    for suffix in ("ing", "ed", "es", "s"):
        if word.endswith(suffix) and len(word) - len(suffix) >= 3 and not word.endswith("ss"):
            word = word[: -len(suffix)]
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "ls":
        word = word[:-1]
    return word[:-1] if len(word) > 3 and word.endswith("e") else word


def word_set(text: str) -> frozenset[str]:
    """The words of a line."""
    return frozenset(text.split())


def _stems(text: str) -> frozenset[str]:
    return frozenset(stem(word) for word in text.split())


DETERMINERS = word_set("the a an this that these those his her its my our your their no any every each some another")
PREPOSITIONS = word_set(
    "of in on at to from by with into upon over under through across behind before after about against among "
    "between beside below above along around down off out toward towards within without up near round since "
    "until till beneath beyond during like for past onto"
)
CONJUNCTIONS = word_set(
    "and but or nor so yet for because although though unless whereas while as if when where than that"
)
SUBJECT_PRONOUNS = word_set("i he she it they we you who which that there")
PRONOUNS = SUBJECT_PRONOUNS | word_set(
    "me him her them us mine yours his hers theirs ours my your its our their myself himself herself itself "
    "themselves ourselves yourself whom whose what one someone anyone everyone nobody nothing something "
    "anything everything none"
)
AUXILIARIES = word_set(
    "be am is are was were been being have has had having do does did doing will would shall should can could "
    "may might must ought isn't wasn't weren't hadn't didn't couldn't wouldn't"
)
ADVERBS = word_set(
    "not never very quite just only also too still even always often ever now then here there once again soon "
    "already almost rather perhaps indeed however therefore thus presently well away back together more most "
    "less least much far long all both such so as how why when where yet else forth instead"
)
FUNCTION_WORDS = (
    DETERMINERS
    | PREPOSITIONS
    | CONJUNCTIONS
    | PRONOUNS
    | AUXILIARIES
    | ADVERBS
    | word_set("yes no oh ah mr mrs miss dr sir madam said say says don't i'm i'll it's that's")
)
VAGUE = word_set(
    "thing things way time times day days night man men woman women people place moment one two three four "
    "five six seven eight nine ten first last second third next other same own good great little old new "
    "young sort kind deal bit lot half hand hands eye eyes face head side end part matter word words mind "
    "life year years hour hours minute minutes course fact case rest something nothing anything everything "
    "full few many several whole right left long short such certain gone done made came come went go going "
    "look looked looking know known think thought see seen get got let take taken give given put tell told "
    "ask asked cried replied returned answered till until upon hundred thousand twenty thirty forty fifty "
    "morning evening afternoon mine ye thy thou hath shall us me reason sense use effect return purpose "
    "manner degree number means point question answer name want wish true better best worse worst less more "
    "much present possible able least back front top bottom somebody anybody everybody really quite dear poor "
    "big small high low large another want wanted today tomorrow yesterday tonight week weeks month months "
    "voice voices arm arms foot feet"
)

TITLES_MALE = word_set(
    "mr mister sir lord captain father uncle king prince duke count baron squire monsieur don herr master brother"
)
TITLES_FEMALE = word_set(
    "mrs miss lady madame mademoiselle aunt queen princess duchess countess baroness mother sister dame donna ms"
)
TITLES_ANY = word_set(
    "dr doctor professor colonel general major lieutenant sergeant judge inspector reverend saint st rev hon cousin"
)
TITLES = TITLES_MALE | TITLES_FEMALE | TITLES_ANY
NOT_NAMES = word_set(
    "i o oh ah yes no god lord heaven heavens english french german christian sunday monday tuesday wednesday "
    "thursday friday saturday january february march april may june july august september october november "
    "december christmas easter michaelmas bible chapter book part the a an and but or it he she they we you "
    "well now then there this that good-bye sire gentlemen ladies ma'am madam mamma papa messrs illustration "
    "footnote contents ii iii iv vi vii viii ix xi"
)

SPEECH_VERBS = word_set(
    "said asked cried replied answered returned exclaimed whispered shouted muttered observed remarked added "
    "began continued murmured demanded inquired enquired called told announced declared says responded "
    "interrupted repeated"
)

ACTION = _stems(
    "run ran rush fight fought strike struck hit blow shoot shot fire gun pistol sword knife blade kill "
    "killed chase flee fled leap leapt jump spring sprang seize grab snatch throw threw hurl fling flung fall "
    "fell climb ride rode gallop charge attack escape pull push drag dash crash smash break broke burst burn "
    "swing swung swim swam row kick stab wound wrestle struggle strain scramble crawl duck dodge hunt pursue "
    "battle march storm wreck drown sank lift carry tear tore cut drive drove plunge stagger tumble haste "
    "hurry scream shout yell explode raid trap capture bleed blood weapon rifle"
)
ROMANTIC = _stems(
    "love lover beloved darling sweetheart kiss embrace heart tender tenderness affection adore passion marry "
    "marriage wedding bride bridegroom engaged engagement betroth propose proposal courtship woo caress blush "
    "dearest fond longing admire charm beauty beautiful lovely sigh devotion jealous jealousy flirt romance "
    "wife husband"
)
EROTIC = _stems(
    "naked nude breasts bosom thigh lust lustful seduce seduction mistress desire undress bed lewd voluptuous "
    "sensual nipple orgasm sexual sex erotic whore harlot prostitute virginity ravish debauch wanton carnal"
)
WORLD = _stems(
    "house room hall street road river hill valley mountain sea ship island village town city church castle "
    "garden forest wood field farm bridge wall tower gate door window shore beach harbour coast country land "
    "king queen lord law custom people tribe nation war army parliament crown guild market trade coin guinea "
    "shilling pound tavern inn school market winter summer autumn spring snow rain fog wind sky sun moon star "
    "stone planet temple palace cottage chapel mill quay"
)
EXPOSITION = _stems(
    "because therefore reason cause thought think knew know believe suppose remember recollect understand "
    "explain meaning mean consider reflect wonder imagine opinion idea history since had been once used "
    "always never became born age father mother family fortune education nature character habit feel felt "
    "seem appear fact truth doubt certain perhaps indeed"
)

MONEY = word_set(
    "penny pence halfpenny shilling shillings guinea guineas pound pounds sovereign sovereigns dollar dollars "
    "cents francs crowns farthing"
)
TRANSPORT = word_set(
    "carriage coach cart horse horses ship schooner boat train railway cab omnibus motor motorcar steamer "
    "wagon gig sledge canoe bicycle"
)
LIGHT = word_set("candle candles lantern lanterns lamp lamps torch torches gaslight firelight")
NATURE = word_set("snow rain fog mist storm wind frost sea tide river moor forest desert heat ice sun")
FAITH = word_set("church chapel parson vicar priest clergyman minister prayer sermon bible")
LAW = word_set("lawyer solicitor judge magistrate police prison constable sheriff")
LETTERS = word_set("letter letters telegram note envelope postscript")

GENERAL = word_set("always never every everyone everybody nobody custom law rule people usually whoever")
ARCHAIC = word_set(
    "upon whilst hath thee thou thy ye shall scarcely presently hitherto wherefore countenance betwixt thence hence"
)
ROLES_FEMALE = word_set(
    "girl woman lady widow mother sister wife aunt queen princess housekeeper landlady governess maid nurse daughter"
)
ROLES_MALE = word_set(
    "boy man captain doctor gentleman squire stranger father brother husband uncle king prince parson priest lad"
)
