"""Checks of lab 16, understanding: the exercises, their properties in order, and their points."""

from utils.checks import understanding_course as course
from utils.checks import understanding_labels as labels
from utils.checks import understanding_search as finding
from utils.checks import understanding_spans as spans
from utils.checks.grading import Property
from utils.checks.progress import Lab

LAB = Lab("Lab 16: understanding")
require, summary = LAB.require, LAB.summary

entities = LAB.exercise(
    "entities",
    "1",
    "entities from BIO tags",
    Property("Well-formed tags give their entities.", labels.entities_clean, 1),
    Property("So do entities side by side, and at the end.", labels.entities_edges, 1),
    Property("So do a model's broken tags.", labels.entities_broken, 1),
)

entity_f1 = LAB.exercise(
    "entity_f1",
    "2",
    "entity F1",
    Property("It is the F1 over whole entities of all texts.", labels.f1_value, 2),
    Property("Nothing to find and nothing found is 0.", labels.f1_nothing),
)

align_labels = LAB.exercise(
    "align_labels",
    "3",
    "labels of subwords",
    Property("The first piece of each word carries its label, all else -100.", labels.labels_of_first_pieces, 1),
    Property("So it is in a text that was cut.", labels.labels_of_cut_texts, 1),
)

bm25 = LAB.exercise(
    "bm25",
    "4",
    "BM25",
    Property("A query of one word has the course's scores.", finding.bm25_single, 1),
    Property("So have several words, one of them twice.", finding.bm25_several, 1),
    Property("Words that no document holds add nothing.", finding.bm25_unseen, 1),
)

embed = LAB.exercise(
    "embed",
    "5a",
    "one vector for a text",
    Property("It is the mean of the real tokens, of length 1.", finding.embed_value, 2),
    Property("It does not depend on the padding beside it.", finding.embed_alone, 1),
)

mean_reciprocal_rank = LAB.exercise(
    "mean_reciprocal_rank",
    "5b",
    "the mean reciprocal rank",
    Property("With one relevant item it is the mean of 1 / rank.", finding.mrr_value, 1),
    Property("With several, and a cutoff, the best one counts.", finding.mrr_cutoff, 1),
)

answer_span = LAB.exercise(
    "answer_span",
    "6",
    "the best span, or none",
    Property("The best pair lies in the passage, its end not before its start.", spans.span_inside, 1),
    Property("It is not too long.", spans.span_length, 1),
    Property("No answer wins unless a span scores more.", spans.span_none, 1),
)

search = LAB.exercise(
    "search",
    "Capstone",
    "ask the course",
    Property("It scores each section for each question.", course.search_shapes),
    Property(f"Its MRR@10 is at least {course.FLOOR}.", course.search_finds, 2),
    Property(f"It is at least {course.TARGET}.", course.search_target, 3),
)
