/*
 * data/words.c: the vocabulary of the built-in text, and its grammar. See filler.h.
 */
#include "data/words.h"

const char *const fam_words_nouns[] = {
    "amplifier", "anchor",    "archive",  "axis",     "balance",  "barrier", "basin",      "beacon",    "bearing",
    "boiler",    "bridge",    "buffer",   "cable",    "canal",    "carrier", "casting",    "catalog",   "chamber",
    "channel",   "circuit",   "clock",    "cluster",  "coil",     "column",  "compass",    "compiler",  "conduit",
    "cooler",    "counter",   "crystal",  "current",  "cylinder", "damper",  "decoder",    "detector",  "dial",
    "drum",      "engine",    "fabric",   "filter",   "flange",   "forge",   "frame",      "furnace",   "gauge",
    "gear",      "generator", "glacier",  "grid",     "hammer",   "harbor",  "hinge",      "index",     "insulator",
    "kernel",    "ladder",    "lantern",  "lattice",  "lever",    "library", "lighthouse", "magnet",    "mantle",
    "marker",    "matrix",    "meadow",   "membrane", "mirror",   "module",  "mooring",    "motor",     "needle",
    "network",   "nozzle",    "orchard",  "orbit",    "oven",     "packet",  "panel",      "pendulum",  "pillar",
    "pipeline",  "piston",    "plateau",  "platform", "prism",    "probe",   "processor",  "propeller", "pulley",
    "pump",      "quarry",    "radiator", "ramp",     "receiver", "record",  "reed",       "regulator", "relay",
    "reservoir", "resonator", "ridge",    "river",    "rotor",    "saddle",  "scaffold",   "sensor",    "shaft",
    "signal",    "siphon",    "socket",   "solvent",  "spindle",  "spring",  "station",    "summit",    "switch",
    "table",     "telescope", "terminal", "thread",   "timber",   "torch",   "tower",      "tractor",   "tunnel",
    "turbine",   "valley",    "valve",    "vessel",   "village",  "voltage", "wagon",      "washer",    "wheel",
    "window",    "winch",     "wire",     "workshop", "yard",     "zone"};
const char *const fam_words_adjectives[] = {
    "ancient", "annual", "blue",     "bright",  "broad",   "calm",     "central",  "coarse",   "cold",     "common",
    "compact", "copper", "curved",   "deep",    "dense",   "digital",  "distant",  "double",   "dry",      "early",
    "empty",   "exact",  "external", "faint",   "fast",    "flat",     "flexible", "floating", "gentle",   "golden",
    "gradual", "gray",   "heavy",    "hollow",  "idle",    "internal", "iron",     "large",    "late",     "liquid",
    "local",   "loose",  "magnetic", "main",    "massive", "modern",   "narrow",   "northern", "outer",    "parallel",
    "pale",    "plain",  "portable", "quiet",   "rapid",   "remote",   "rigid",    "rough",    "round",    "sealed",
    "second",  "sharp",  "silent",   "silver",  "simple",  "slow",     "smooth",   "solid",    "southern", "spare",
    "stable",  "steady", "steep",    "thermal", "thick",   "thin",     "upper",    "vertical", "warm",     "wooden"};
const char *const fam_words_verbs[] = {
    "absorbs",  "adjusts",   "balances", "blocks",     "carries",  "checks",   "cools",     "copies",   "covers",
    "crosses",  "delays",    "drives",   "drains",     "encloses", "feeds",    "fills",     "follows",  "guides",
    "heats",    "holds",     "isolates", "joins",      "leads",    "lifts",    "limits",    "locks",    "marks",
    "measures", "meets",     "moves",    "opens",      "passes",   "powers",   "presses",   "protects", "pulls",
    "reaches",  "reads",     "records",  "reflects",   "releases", "replaces", "resets",    "reverses", "seals",
    "selects",  "separates", "signals",  "stabilizes", "stores",   "supports", "surrounds", "tests",    "tracks",
    "triggers", "turns",     "warms",    "watches"};
const char *const fam_words_adverbs[] = {
    "again",  "always",    "briefly",   "carefully", "directly", "early",  "evenly",    "gently", "gradually",
    "often",  "partly",    "precisely", "quickly",   "quietly",  "rarely", "regularly", "safely", "seldom",
    "slowly", "sometimes", "steadily",  "tightly",   "together", "twice",  "usually"};

const int fam_words_noun_count = sizeof fam_words_nouns / sizeof *fam_words_nouns;
const int fam_words_adjective_count = sizeof fam_words_adjectives / sizeof *fam_words_adjectives;
const int fam_words_verb_count = sizeof fam_words_verbs / sizeof *fam_words_verbs;
const int fam_words_adverb_count = sizeof fam_words_adverbs / sizeof *fam_words_adverbs;

const char *const fam_words_openers[] = {"The", "Each", "Every", "This", "Another", "One", "That", "Any"};
const int fam_words_opener_count = sizeof fam_words_openers / sizeof *fam_words_openers;
const char *const fam_words_articles[] = {"the", "each", "every", "this", "another", "one", "its", "the", "the"};
const int fam_words_article_count = sizeof fam_words_articles / sizeof *fam_words_articles;
const char *const fam_words_leads[] = {"Meanwhile", "However",   "Later",    "At night", "In winter",   "In practice",
                                       "Nearby",    "By design", "At first", "In time",  "As a result", "Below"};
const int fam_words_lead_count = sizeof fam_words_leads / sizeof *fam_words_leads;
const char *const fam_words_prepositions[] = {"above",  "across",  "after",  "along", "around", "behind", "below",
                                              "beside", "beyond",  "from",   "in",    "inside", "near",   "of",
                                              "over",   "through", "toward", "under", "with"};
const int fam_words_preposition_count = sizeof fam_words_prepositions / sizeof *fam_words_prepositions;
const char *const fam_words_conjunctions[] = {"and",    "because", "before", "but",   "once", "so",
                                              "unless", "until",   "when",   "where", "while"};
const int fam_words_conjunction_count = sizeof fam_words_conjunctions / sizeof *fam_words_conjunctions;

/* T article that opens, t article, A adjective, N noun, V verb, D adverb, P preposition, C conjunction, L lead. */
const char *const fam_words_templates[] = {
    "TNVtN.",        "TANVtN.",    "TANVtANPtN.",    "TNPtNVtAN.",      "TNDVtN.",     "TNVtN,CtNVtAN.",
    "TANVD.",        "L,tNVtAN.",  "L,tANDVtNPtAN.", "TNVtNCtANVD.",    "TNPtANDVtN.", "TNVtN,CtANVD.",
    "TANVD,CtNVtN.", "L,tNPtNVD.", "TNVtNPtNPtAN.",  "TAANVtNDCtNVtN.", "TNVDPtAAN.",  "TANPtNVtN,CtNPtANVtN."};
const int fam_words_template_count = sizeof fam_words_templates / sizeof *fam_words_templates;
