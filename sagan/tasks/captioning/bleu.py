"""BLEU of a corpus (Papineni et al. 2002), with several references for each sentence.

`brevity=True` is the usual BLEU: captions that are shorter than the references closest to them in
length are penalised. `brevity=False` leaves that factor out, as Show, Attend and Tell does.
"""

import math
from collections import Counter
from collections.abc import Sequence

Sentence = Sequence[str]
MAX_N = 4


def corpus_bleu(
    candidates: Sequence[Sentence], references: Sequence[Sequence[Sentence]], *, brevity: bool
) -> list[float]:
    """Returns BLEU-1 to BLEU-4, each in [0, 100]; without smoothing.

    Args:
      candidates: the captions to score, as words.
      references: for each of them, one or more correct captions.
    """
    matched, possible = [0] * MAX_N, [0] * MAX_N
    length, wanted = 0, 0
    for candidate, correct in zip(candidates, references, strict=True):
        length += len(candidate)
        closest = min((abs(len(other) - len(candidate)), len(other)) for other in correct)
        wanted += closest[1]
        for n in range(1, MAX_N + 1):
            counts = _ngrams(candidate, n)
            allowed: Counter[tuple[str, ...]] = Counter()
            for other in correct:
                allowed |= _ngrams(other, n)
            matched[n - 1] += (counts & allowed).total()
            possible[n - 1] += counts.total()
    factor = math.exp(min(0.0, 1 - wanted / length)) if brevity and length else 1.0
    scores, logs = [], 0.0
    for n, (some, of_all) in enumerate(zip(matched, possible, strict=True), start=1):
        logs += math.log(some / of_all) if some else -math.inf
        scores.append(100 * factor * math.exp(logs / n))
    return scores


def _ngrams(sentence: Sentence, n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(sentence[i : i + n]) for i in range(len(sentence) - n + 1))
