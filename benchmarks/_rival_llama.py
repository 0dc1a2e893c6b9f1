"""llama.cpp's rate for one text, run by `serve_vs_vllm.py` with the Python of its environment.

Standard input: {"gguf", "prompts": [texts], "new", "rounds", "threads"}. Last line of the output:
the best rate of a round, and the tokens of the texts.
"""

import json
import sys
import time


def main() -> None:
    import xllamacpp

    given = json.load(sys.stdin)
    params = xllamacpp.CommonParams()
    params.model.path = given["gguf"]
    params.n_ctx = 1024
    params.n_parallel = 1
    params.cpuparams.n_threads = given["threads"]
    params.cpuparams_batch.n_threads = given["threads"]
    server = xllamacpp.Server(params)
    best, counts = 0.0, []
    for _ in range(given["rounds"] + 1):
        for prompt in given["prompts"]:
            began = time.perf_counter()
            answer = server.handle_completions(
                {
                    "prompt": prompt,
                    "max_tokens": given["new"],
                    "n_predict": given["new"],
                    "temperature": 0,
                    "cache_prompt": False,
                }
            )
            seconds = time.perf_counter() - began
            answer = json.loads(answer) if isinstance(answer, str) else answer
            usage = answer.get("usage") or {}
            tokens = int(usage.get("completion_tokens") or answer.get("tokens_predicted") or 0)
            counts.append(tokens)
            best = max(best, tokens / seconds)
    print(json.dumps({"tokens_per_second": best, "tokens": counts}))


if __name__ == "__main__":
    main()
