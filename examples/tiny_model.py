"""A model small enough for an example: GPT-2 of four layers with random weights, and a tokenizer of its own."""

from __future__ import annotations

from pathlib import Path


def tiny_model(folder: str | Path, texts: list[str], *, width: int = 64) -> str:
    """Saves the model and a tokenizer trained on `texts` to a folder; gives the folder's path."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    torch.manual_seed(1)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe = trainers.BpeTrainer(vocab_size=512, special_tokens=["<eos>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator(texts, bpe)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<eos>", eos_token="<eos>", pad_token="<eos>")
    config = GPT2Config(
        vocab_size=len(fast), n_positions=256, n_embd=width, n_layer=4, n_head=4, bos_token_id=0, eos_token_id=0
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return str(folder)
