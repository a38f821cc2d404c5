/* answers.c - what the references of an object were found to bind to before. */
#include "answers.h"

#include <stdlib.h>

/* The object's number above, the index of the symbol below; 0: nothing is known. */
enum { NUMBER_SHIFT = 32 };

bool fp_answers_find(const struct fp_object *holder, uint32_t symbol, uint32_t *ret_number,
		     uint32_t *ret_index)
{
	_Atomic(uint64_t) *answers = atomic_load_explicit(&holder->answers, memory_order_acquire);
	uint64_t answer =
		answers ? atomic_load_explicit(&answers[symbol], memory_order_relaxed) : 0;

	*ret_number = (uint32_t)(answer >> NUMBER_SHIFT);
	*ret_index = (uint32_t)answer;
	return answer != 0;
}

void fp_answers_note(struct fp_object *holder, uint32_t symbol, const struct fp_object *definer,
		     uint32_t index)
{
	_Atomic(uint64_t) *answers = atomic_load_explicit(&holder->answers, memory_order_acquire);

	if (!holder->number || !definer->number)
		return;
	if (!answers) {
		_Atomic(uint64_t) *made = calloc(holder->symbol_count, sizeof(*made));

		if (!made)
			return;
		if (atomic_compare_exchange_strong(&holder->answers, &answers, made))
			answers = made;
		else
			free((void *)made);
	}
	atomic_store_explicit(&answers[symbol], (uint64_t)definer->number << NUMBER_SHIFT | index,
			      memory_order_relaxed);
}
