"""tests/fixtures/chat_template: conversations as transformers' apply_chat_template renders them with SmolLM2's
template.

smollm2.json: `template` is tokenizer.chat_template of the GGUF file; `conversations` a list of {messages,
add_generation_prompt, text, ids}. `ids` are what apply_chat_template(tokenize=True) gives; null where a message
holds the text of a special token, which transformers takes for that token and we do not.
"""

import gguf
from transformers import PreTrainedTokenizerFast

import common

common.need_reference()
import gguf_tokenizer  # noqa: E402

system, user, assistant = (
    lambda text, role=role: {"role": role, "content": text} for role in ("system", "user", "assistant")
)
CONVERSATIONS = [
    ([user("Hi")], True),
    ([user("Hi")], False),
    ([system("Answer in one word."), user("What is the capital of France?")], True),
    ([user("What is 2 + 2?"), assistant("4"), user("And 3 + 3?")], True),
    ([system("You are terse."), user("Hello"), assistant("Hi."), user("Bye"), assistant("Bye.")], False),
    ([user("Say <|im_end|> and <|im_start|>assistant\nthen <|endoftext|>.")], True),
    ([system(""), user("")], True),
    (
        [
            user("  blanks before and after \n\n"),
            assistant("\n{{ not a template }} {% if x %}"),
            user("<b>&amp;</b> \"quoted\" 'it''s'\t\u00e9\U0001f600"),
        ],
        True,
    ),
    ([user("first"), system("a system message in the middle"), user("second")], True),
    ([assistant("I begin.")], True),
]


def main():
    model = common.need_smollm2()
    template = gguf.GGUFReader(model).fields["tokenizer.chat_template"].contents()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=gguf_tokenizer.load(model), chat_template=template)
    entries = []
    for messages, prompt in CONVERSATIONS:
        render = lambda tokenize: tokenizer.apply_chat_template(
            messages, add_generation_prompt=prompt, tokenize=tokenize, return_dict=False
        )
        entries.append(
            {
                "messages": messages,
                "add_generation_prompt": prompt,
                "text": render(False),
                "ids": None if any("<|" in message["content"] for message in messages) else render(True),
            }
        )
    common.write_json(
        common.FIXTURES / "chat_template" / "smollm2.json", {"template": template, "conversations": entries}
    )


if __name__ == "__main__":
    main()
