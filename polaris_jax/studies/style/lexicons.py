"""Word and phrase lists of the style measures, written for this study: what readers criticise in assistant prose, and
what is typical of novels. Phrases are matched in lower case with typewriter apostrophes, at word boundaries."""

import re

from polaris_jax.scaffold.analysis.lexicons import LIGHT, NATURE, TRANSPORT, word_set


def phrase_pattern(phrases: str) -> re.Pattern[str]:
    """One pattern for all phrases, one phrase per line; ``*`` ends a stem."""
    forms = [line.strip() for line in phrases.strip().splitlines() if line.strip()]
    escaped = (re.escape(form).replace(r"\*", r"\w*").replace(r"\ ", r"\s+") for form in forms)
    return re.compile(r"\b(?:" + "|".join(sorted(escaped, key=len, reverse=True)) + r")\b")


# Connectives that explain instead of showing.
CONNECTIVES = phrase_pattern("""
    because of this
    as a result
    in order to
    this meant that
    which meant that
    this is because
    the reason was
    due to
    therefore
    thus
    consequently
    furthermore
    moreover
    additionally
    in addition
    ultimately
    overall
    meanwhile
    in conclusion
    in the end
    despite
    however
    not only
    as well as
    along with
    which led
    leading to
    allowing him to
    allowing her to
    allowing them to
    made it clear
    making it
    so that
    on the other hand
""")

HEDGES = phrase_pattern("""
    perhaps
    maybe
    seemed to
    seem to
    seems to
    appeared to
    somehow
    somewhat
    almost
    nearly
    as if
    as though
    a sense of
    a kind of
    a sort of
    kind of
    sort of
    could be
    might be
    may have
    might have
    possibly
    probably
    in a way
    couldn't help but
    could not help but
""")

# Stock phrases for any subject: labelled feelings, journeys, testaments and tapestries.
STOCK = phrase_pattern("""
    a testament to
    testament to
    a sense of
    a mix of
    a mixture of
    a wave of
    a symbol of
    a beacon of
    a reminder of
    reminder that
    tapestry
    couldn't help but
    could not help but
    heart pounding
    heart racing
    heart heavy
    a shiver
    sent shivers
    chill down
    down his spine
    down her spine
    down my spine
    down their spines
    with a mix
    tears streaming
    tears in her eyes
    took a deep breath
    deep breath
    a deep sense
    little did
    once upon a time
    as the sun set
    the sun was setting
    as the days
    days turned into
    weeks turned into
    in the heart of
    nestled
    bustling
    small town
    small village
    quaint
    the weight of
    the power of
    the importance of
    the beauty of
    the world around
    determined to
    determination
    resilience
    unwavering
    newfound
    a new chapter
    a new beginning
    hidden secrets
    for the first time in
    for years to come
    from that day
    from that moment
    never be the same
    never forget
    would never forget
    it was as if
    eyes sparkl*
    eyes widened
    voice barely above a whisper
    barely above a whisper
    the air was thick
    thick with
    whispers of
    echoed through
    embark*
    journey
    a passion for
    known for
    renowned
    dedicated
    legacy
    community
    embrac*
    challenges
    struggles
""")

# Phrases that tell the reader a moral.
MORALS = phrase_pattern("""
    lesson*
    learned that
    learnt that
    had learned
    taught me
    taught him
    taught her
    taught them
    realized that
    realised that
    had come to realize
    understood that
    reminder
    reminded
    remember that
    the importance of
    the power of
    the true meaning
    true meaning
    what truly matter*
    what really matter*
    from that day
    from that moment
    from then on
    never be the same
    never forget
    never give up
    forever changed
    changed forever
    will always be
    would always be
    would forever
    for generations
    for years to come
    legacy
    testament
    inspir*
    journey
    hope that
    hope for
    a better
    happily
    at peace
    peace with
    stronger than
    made a difference
    make a difference
    not alone
    a new beginning
    a new chapter
    moral of
    in the end
    proud of
    grateful
    continued to
""")

CONCRETE = (
    LIGHT
    | NATURE
    | TRANSPORT
    | word_set("""
    hand hands head face eye eyes hair arm arms finger fingers foot feet leg legs knee knees shoulder shoulders neck
    mouth lip lips teeth tooth nose ear ears chin cheek cheeks beard blood bone bones skin back chest fist
    table chair chairs bench bed desk shelf cupboard drawer box chest trunk basket bag sack bottle glass glasses cup
    cups plate plates dish dishes knife fork spoon pot kettle pan jug barrel bucket rope chain key keys lock nail
    hammer axe spade ladder wheel clock watch bell book books paper papers pen ink purse coin coins ring pipe
    hat hats cap bonnet coat cloak gown dress skirt shirt apron boot boots shoe shoes glove gloves stocking stockings
    handkerchief sleeve collar button ribbon silk cloth wool linen leather stick umbrella gun pistol sword rifle
    bread butter cheese meat beef bacon egg eggs fish soup potatoes apple apples cake pie sugar salt tea coffee milk
    wine beer ale rum brandy whisky tobacco cigar supper dinner breakfast
    dog dogs cat cats horse horses cow cows pig pigs sheep bird birds hen goose rat mouse bee fly snake fox wolf
    tree trees leaf leaves branch grass flower flowers rose hedge bush weed root corn hay straw mud dust dirt sand
    stone stones rock rocks brick bricks iron brass copper gold silver lead tin wood log board boards plank
    house houses room rooms kitchen parlour stair stairs floor ceiling roof wall walls door doors window windows
    chimney hearth fire fireplace gate fence yard garden street lane road path bridge ditch well stable barn
    hill hills cliff shore beach pond brook stream lake field fields meadow sky moon star stars cloud clouds smoke
    ashes flame water deck mast sail sails oar anchor man men woman women boy boys girl girls child
    """)
)

ABSTRACT = word_set(
    "love hope hopes fear fears joy truth trust faith courage strength wisdom power beauty peace freedom justice "
    "honour honor pride guilt shame grief sorrow regret doubt sense meaning purpose destiny fate dream dreams memory "
    "memories past future life lives world journey lesson lessons challenge challenges struggle struggles choice "
    "choices decision decisions secret secrets mystery legacy story stories soul spirit mind "
    "thought thoughts idea ideas feeling feelings emotion emotions passion desire bond connection relationship "
    "experience experiences knowledge value values belief beliefs change impact influence success failure progress "
    "support care respect honesty loyalty loss luck time importance reality possibility opportunity opportunities "
    "situation situations issue issues matter matters reason way ways nature character reputation"
)
ABSTRACT_SUFFIX = re.compile(
    r"\w{3,}(?:ness|nesses|ity|ities|tion|tions|sion|sions|ment|ments|ance|ence|ism|hood|"
    r"ship|dom)$"
)
# Concrete nouns with the endings of abstract nouns.
NOT_ABSTRACT = word_set(
    "city cities station stations garment garments apartment apartments monument monuments instrument instruments "
    "document documents parchment regiment regiments pavement basement government parliament mention mentioned "
    "question questions witness witnesses harness wilderness kingdom seldom entrance ambulance fence hence whence "
    "conveyance university portion dance glance chance"
)
