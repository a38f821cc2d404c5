/* bind.c - binds symbol references over the scopes of a closure.

   Theory of operation.  At start every object has one scope: the global one, the closure in breadth-first
   order; an object with DF_SYMBOLIC searches itself before it (glibc elf/dl-load.c, elf/dl-lookup.c).  So for nearly all
   references the answer depends on name, version and look-up class only, and is remembered under these three: a
   closure asks for each C++ symbol a dozen times; and what one closure has found the next ones need not look for (answers.h).
   Only definitions of STB_GNU_UNIQUE symbols depend on the order of the
   questions: the first definition that is found for a name is everybody's from then on. */
#include "bind.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "answers.h"
#include "lookup.h"
#include "scope.h"

/* A remembered answer of the global scope. */
struct memo {
	const char *name; /* null: free */
	const struct fp_version *version;
	uint32_t gnu_hash;
	uint8_t lookup_class;
	struct fp_binding binding;
};

/* An entry of the namespace's table of unique symbols; found by name alone. */
struct unique {
	const char *name; /* null: free */
	uint32_t gnu_hash;
	size_t object;
	const Elf64_Sym *symbol;
};

/* Open addressing; the capacity is a power of two. */
struct table {
	void *entries;
	size_t capacity, count;
};

struct fp_binder {
	const struct fp_closure *closure;
	size_t *scope; /* the global scope: member indexes */
	size_t scope_count;
	struct fp_scope_index
		*index;      /* of the scope; null: not worth it yet, or there can be none */
	size_t symbol_count; /* that it has or would have; 0: there can be none */
	size_t asked;        /* objects asked without it; a guess at first */
	uint32_t *members; /* by the number of an object: its index in the scope plus 1; 0: it is not there */
	uint32_t number_count;
	struct table memos, uniques;
};

enum {
	FIRST_CAPACITY = 1024,
	USUALLY_ASKED = 8, /* objects, for a reference, without an index */
};

static bool is_program(const struct fp_closure *closure, size_t index)
{
	return index == 0 && !closure->alone;
}

/* ld.so itself is in the global scope only when an object names it (elf/rtld.c:dl_main). */
static bool is_needed(const struct fp_closure *closure, size_t index)
{
	for (size_t i = 0; i < closure->count; i++)
		for (size_t j = 0; j < closure->members[i].dependency_count; j++)
			if (closure->members[i].dependencies[j] == index)
				return true;
	return false;
}

/* The objects that will be asked without an index. */
static size_t guess_asked(const struct fp_closure *closure)
{
	size_t references = 0;

	for (size_t i = 0; i < closure->count; i++) {
		const struct fp_object *object = closure->members[i].object;

		if (i > 0 && closure->alone)
			break;
		references += object->rela.count - object->relative_count;
		if (fp_object_binds_now(object))
			references += object->jmprel.count;
	}
	return references * USUALLY_ASKED;
}

int fp_binder_new(const struct fp_closure *closure, struct fp_binder **ret_binder,
		  struct fp_why *why)
{
	struct fp_binder *binder = calloc(1, sizeof(*binder));

	if (!binder)
		return fp_why_system(why, ENOMEM, closure->members[0].name, "bind");
	binder->closure = closure;
	binder->memos.entries = calloc(FIRST_CAPACITY, sizeof(struct memo));
	binder->memos.capacity = FIRST_CAPACITY;
	binder->uniques.entries = calloc(FIRST_CAPACITY, sizeof(struct unique));
	binder->uniques.capacity = FIRST_CAPACITY;
	binder->scope = calloc(closure->count, sizeof(size_t));
	for (size_t i = 0; i < closure->count; i++)
		if (closure->members[i].object->number >= binder->number_count)
			binder->number_count = closure->members[i].object->number + 1;
	binder->members = calloc(binder->number_count, sizeof(*binder->members));
	if (!binder->memos.entries || !binder->uniques.entries || !binder->scope ||
	    !binder->members) {
		fp_binder_free(binder);
		return fp_why_system(why, ENOMEM, closure->members[0].name, "bind");
	}
	for (size_t i = 0; i < closure->count; i++) {
		if (closure->members[i].is_loader && !is_needed(closure, i))
			continue;
		binder->scope[binder->scope_count++] = i;
		binder->members[closure->members[i].object->number] = (uint32_t)i + 1;
	}
	binder->members[0] = 0;
	binder->symbol_count = fp_scope_symbols(closure, binder->scope, binder->scope_count);
	binder->asked = guess_asked(closure);
	*ret_binder = binder;
	return 0;
}

void fp_binder_free(struct fp_binder *binder)
{
	if (!binder)
		return;
	free(binder->memos.entries);
	free(binder->uniques.entries);
	free(binder->scope);
	free(binder->members);
	fp_scope_index_free(binder->index);
	free(binder);
}

static bool same_version(const struct fp_version *a, const struct fp_version *b)
{
	if (!a || !b)
		return a == b;
	return a->hash == b->hash && a->hidden == b->hidden && strcmp(a->name, b->name) == 0;
}

/* The memo of QUERY, or the free place for it. */
static struct memo *find_memo(const struct table *table, const struct fp_query *query)
{
	struct memo *memos = table->entries;
	size_t at = query->gnu_hash;

	for (;; at++) {
		struct memo *memo = &memos[at & (table->capacity - 1)];

		if (!memo->name || (memo->gnu_hash == query->gnu_hash &&
				    memo->lookup_class == query->lookup_class &&
				    same_version(memo->version, query->version) &&
				    strcmp(memo->name, query->name) == 0))
			return memo;
	}
}

static struct unique *find_unique(const struct table *table, uint32_t gnu_hash, const char *name)
{
	struct unique *uniques = table->entries;
	size_t at = gnu_hash;

	for (;; at++) {
		struct unique *unique = &uniques[at & (table->capacity - 1)];

		if (!unique->name ||
		    (unique->gnu_hash == gnu_hash && strcmp(unique->name, name) == 0))
			return unique;
	}
}

static int grow_memos(struct table *table)
{
	struct memo *old = table->entries;
	size_t count = table->capacity;

	if (table->count * 2 < count)
		return 0;
	table->entries = calloc(count * 2, sizeof(struct memo));
	if (!table->entries) {
		table->entries = old;
		return -ENOMEM;
	}
	table->capacity = count * 2;
	for (size_t i = 0; i < count; i++)
		if (old[i].name) {
			struct fp_query query = { .name = old[i].name,
						  .gnu_hash = old[i].gnu_hash,
						  .version = old[i].version,
						  .lookup_class = old[i].lookup_class };

			*find_memo(table, &query) = old[i];
		}
	free(old);
	return 0;
}

static int grow_uniques(struct table *table)
{
	struct unique *old = table->entries;
	size_t count = table->capacity;

	if (table->count * 2 < count)
		return 0;
	table->entries = calloc(count * 2, sizeof(struct unique));
	if (!table->entries) {
		table->entries = old;
		return -ENOMEM;
	}
	table->capacity = count * 2;
	for (size_t i = 0; i < count; i++)
		if (old[i].name)
			*find_unique(table, old[i].gnu_hash, old[i].name) = old[i];
	free(old);
	return 0;
}

/* elf/dl-lookup.c:do_lookup_unique, without the part for COPY relocations: those stay ld.so's, and so does the
   first reference to each unique symbol, because the table must exist for objects that are dlopened later. */
static int bind_unique(struct fp_binder *binder, const struct fp_query *query,
		       struct fp_binding *binding)
{
	struct unique *unique;
	int error;

	if (query->lookup_class & FP_CLASS_COPY)
		return 0;
	error = grow_uniques(&binder->uniques);
	if (error)
		return error;
	unique = find_unique(&binder->uniques, query->gnu_hash, query->name);
	if (!unique->name) {
		*unique = (struct unique){ .name = query->name,
					   .gnu_hash = query->gnu_hash,
					   .object = binding->object,
					   .symbol = binding->symbol };
		binder->uniques.count++;
		binding->first_unique = true;
		return 0;
	}
	binding->object = unique->object;
	binding->symbol = unique->symbol;
	return 0;
}

static bool binds_locally(const Elf64_Sym *symbol)
{
	unsigned visibility = ELF64_ST_VISIBILITY(symbol->st_other);

	return visibility == STV_HIDDEN || visibility == STV_INTERNAL;
}

bool fp_bind_looks_up(const Elf64_Sym *reference)
{
	return ELF64_ST_BIND(reference->st_info) != STB_LOCAL && !binds_locally(reference);
}

/* elf/dl-lookup.c:do_lookup_x for one object.  True when the search ends here. */
static bool search_object(struct fp_binder *binder, struct fp_query *query, size_t index,
			  struct fp_binding *ret_binding, bool *ret_disputed)
{
	const Elf64_Sym *symbol;
	unsigned bind;

	if ((query->lookup_class & FP_CLASS_COPY) && is_program(binder->closure, index))
		return false;
	symbol = fp_lookup(binder->closure->members[index].object, query, ret_disputed);
	if (!symbol || binds_locally(symbol))
		return false;
	bind = ELF64_ST_BIND(symbol->st_info);
	if (bind != STB_GLOBAL && bind != STB_WEAK && bind != STB_GNU_UNIQUE)
		return false;
	*ret_binding =
		(struct fp_binding){ .bound = FP_BOUND_SYMBOL, .object = index, .symbol = symbol };
	return true;
}

/* An index costs a step for each symbol; it is made when as many objects have been asked. */
static bool use_index(struct fp_binder *binder)
{
	if (!binder->index && binder->symbol_count && binder->asked >= binder->symbol_count) {
		binder->index =
			fp_scope_index_new(binder->closure, binder->scope, binder->scope_count);
		/* Without memory for it every object is asked as before. */
		if (!binder->index)
			binder->symbol_count = 0;
	}
	return binder->index != NULL;
}

/* Searches HOLDER itself first when SYMBOLIC, then the global scope; fills *RET_BINDING when it is found. */
static bool search_scope(struct fp_binder *binder, struct fp_query *query, size_t holder,
			 bool symbolic, struct fp_binding *ret_binding, bool *ret_disputed)
{
	size_t position, member;

	if (symbolic && search_object(binder, query, holder, ret_binding, ret_disputed))
		return true;
	if (use_index(binder)) {
		position = fp_scope_start(binder->index, query->gnu_hash);
		while (fp_scope_next(binder->index, query->gnu_hash, &position, &member))
			if (search_object(binder, query, member, ret_binding, ret_disputed))
				return true;
		return false;
	}
	for (size_t i = 0; i < binder->scope_count; i++) {
		binder->asked++;
		if (search_object(binder, query, binder->scope[i], ret_binding, ret_disputed))
			return true;
	}
	return false;
}

/* elf/dl-lookup.c:_dl_lookup_symbol_x, the part on protected references: they bind to their own object. */
static void bind_protected(struct fp_binder *binder, struct fp_query *query, size_t holder,
			   bool symbolic, struct fp_binding *binding, bool *ret_disputed)
{
	struct fp_binding other;

	if (query->lookup_class == FP_CLASS_PLT) {
		other = *binding;
	} else {
		query->lookup_class = FP_CLASS_PLT;
		if (!search_scope(binder, query, holder, symbolic, &other, ret_disputed))
			return;
	}
	if (other.object != holder)
		*binding = (struct fp_binding){ .bound = FP_BOUND_SYMBOL,
						.object = holder,
						.symbol = query->reference };
}

/* sysdeps/generic/dl-protected.h:_dl_check_protected_symbol warns about these: leave them to ld.so. */
static bool is_warned_about(const struct fp_closure *closure, size_t holder,
			    const struct fp_query *query, const struct fp_binding *binding)
{
	return is_program(closure, holder) &&
	       ELF64_ST_VISIBILITY(binding->symbol->st_other) == STV_PROTECTED &&
	       query->reference->st_shndx == SHN_UNDEF && query->reference->st_value != 0;
}

/* What the reference of HOLDER bound to in another closure, where that is certain to be right in this one too. */
static bool find_answer(struct fp_binder *binder, const struct fp_object *holder,
			uint32_t symbol, struct fp_binding *ret_binding)
{
	const struct fp_closure *closure = binder->closure;
	uint32_t number, index, member;

	if (!fp_answers_find(holder, symbol, &number, &index) ||
	    number >= binder->number_count || !binder->members[number] || !use_index(binder))
		return false;
	member = binder->members[number] - 1;
	if (fp_scope_is_shared(binder->index, member, index))
		return false;
	*ret_binding = (struct fp_binding){ .bound = FP_BOUND_SYMBOL,
					    .object = member,
					    .symbol = &closure->members[member].object->symtab[index] };
	return true;
}

/* Unique symbols depend on what was asked before; canonical PLT addresses are not found by every class of look-up. */
static void note_answer(const struct fp_binder *binder, struct fp_object *holder, uint32_t symbol,
			const struct fp_binding *binding)
{
	const struct fp_object *definer = binder->closure->members[binding->object].object;

	if (ELF64_ST_BIND(binding->symbol->st_info) != STB_GNU_UNIQUE &&
	    binding->symbol->st_shndx != SHN_UNDEF)
		fp_answers_note(holder, symbol, definer,
				(uint32_t)(binding->symbol - definer->symtab));
}

const struct fp_version *fp_bind_version(const struct fp_object *object, uint32_t symbol)
{
	const struct fp_version *version =
		object->versym ? &object->versions[object->versym[symbol] & 0x7fff] : NULL;

	return version && version->hash ? version : NULL;
}

/* As fp_bind; IS_LAZY: as fp_bind_lazy. */
static int bind(struct fp_binder *binder, size_t holder, uint32_t symbol, uint8_t lookup_class,
		bool is_lazy, struct fp_binding *ret_binding)
{
	struct fp_object *object = binder->closure->members[holder].object;
	const Elf64_Sym *reference = &object->symtab[symbol];
	/* The program is not mapped by ld.so, which is what makes an object symbolic (elf/dl-load.c). */
	bool symbolic = !is_program(binder->closure, holder) && (object->flags & DF_SYMBOLIC),
	     disputed = false, own;
	struct fp_query query;
	struct memo *memo = NULL;
	int error;

	if (!fp_bind_looks_up(reference)) {
		*ret_binding = (struct fp_binding){ .bound = FP_BOUND_SYMBOL,
						    .object = holder,
						    .symbol = reference };
		return 0;
	}
	own = symbolic || ELF64_ST_VISIBILITY(reference->st_other) == STV_PROTECTED ||
	      is_program(binder->closure, holder);
	if (!own && !(lookup_class & FP_CLASS_COPY) &&
	    find_answer(binder, object, symbol, ret_binding))
		return 0;
	query = (struct fp_query){ .name = object->strtab + reference->st_name,
				   .reference = reference,
				   .lookup_class = lookup_class };
	query.gnu_hash = fp_gnu_hash(query.name);
	query.version = fp_bind_version(object, symbol);
	if (!own) {
		error = grow_memos(&binder->memos);
		if (error)
			return error;
		memo = find_memo(&binder->memos, &query);
	}
	if (memo && memo->name) {
		*ret_binding = memo->binding;
	} else {
		if (!search_scope(binder, &query, holder, symbolic, ret_binding, &disputed))
			*ret_binding = (struct fp_binding){ .bound = FP_BOUND_UNDEFINED };
		if (disputed || (ret_binding->bound == FP_BOUND_SYMBOL &&
				 is_warned_about(binder->closure, holder, &query, ret_binding)))
			ret_binding->bound = FP_BOUND_DISPUTED;
		if (memo) {
			*memo = (struct memo){ .name = query.name,
					       .version = query.version,
					       .gnu_hash = query.gnu_hash,
					       .lookup_class = query.lookup_class,
					       .binding = *ret_binding };
			binder->memos.count++;
		}
	}
	if (ret_binding->bound == FP_BOUND_UNDEFINED &&
	    ELF64_ST_BIND(reference->st_info) == STB_WEAK)
		ret_binding->bound = FP_BOUND_NOTHING;
	if (ret_binding->bound != FP_BOUND_SYMBOL)
		return 0;
	if (!own && !(lookup_class & FP_CLASS_COPY))
		note_answer(binder, object, symbol, ret_binding);
	if (ELF64_ST_BIND(ret_binding->symbol->st_info) == STB_GNU_UNIQUE && !is_lazy) {
		error = bind_unique(binder, &query, ret_binding);
		if (error)
			return error;
	}
	if (ELF64_ST_VISIBILITY(reference->st_other) == STV_PROTECTED) {
		bind_protected(binder, &query, holder, symbolic, ret_binding, &disputed);
		if (disputed)
			ret_binding->bound = FP_BOUND_DISPUTED;
	}
	return 0;
}

int fp_bind(struct fp_binder *binder, size_t holder, uint32_t symbol, uint8_t lookup_class,
	    struct fp_binding *ret_binding)
{
	return bind(binder, holder, symbol, lookup_class, false, ret_binding);
}

int fp_bind_lazy(struct fp_binder *binder, size_t holder, uint32_t symbol,
		 struct fp_binding *ret_binding)
{
	return bind(binder, holder, symbol, FP_CLASS_PLT, true, ret_binding);
}
