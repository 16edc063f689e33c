/*
 * raise: how a failure becomes PyTorch's: what it calls must throw, for it does not look whether it
 * was given memory.
 */
#ifndef TORCH_RAISE_H
#define TORCH_RAISE_H

/* Throws torch's OutOfMemoryError, or its plain error (a RuntimeError) where it has no such class.
 * Returns when this process has no PyTorch. No lock held; the text is copied. */
void raise_out_of_memory(const char *text);

#endif
