/* bindings.c - tells what every symbol reference of a program and its libraries binds to. */
#include <errno.h>

#include "../bind/bind.h"
#include "internal.h"

struct telling {
	const struct fp_closure *closure;
	fp_binding_visit *visit;
	void *context;
	int stopped; /* what VISIT returned */
};

static int tell(const struct fp_reference *reference, void *context)
{
	struct telling *telling = context;
	const struct fp_member *members = telling->closure->members;
	const struct fp_binding *binding = &reference->binding;
	struct fp_binding_result result = {
		.holder = members[reference->holder].name,
		.symbol = members[reference->holder].object->strtab + reference->symbol->st_name,
		.version = reference->version ? reference->version->name : NULL,
		.kind = reference->type->name,
		.undefined = binding->bound == FP_BOUND_UNDEFINED,
		.disputed = binding->bound == FP_BOUND_DISPUTED,
	};

	if (binding->symbol) {
		result.provider = members[binding->object].name;
		result.value = binding->symbol->st_value;
		result.is_ifunc = ELF64_ST_TYPE(binding->symbol->st_info) == STT_GNU_IFUNC;
		result.is_unique = ELF64_ST_BIND(binding->symbol->st_info) == STB_GNU_UNIQUE;
	}
	telling->stopped = telling->visit(&result, telling->context);
	return telling->stopped;
}

int fp_run_bindings(struct fp_run *run, const char *path, fp_binding_visit *visit, void *context,
		    struct fp_why *why)
{
	struct telling telling = { .visit = visit, .context = context };
	struct fp_closure *closure;
	struct fp_binder *binder;
	int error = fp_closure_build(run->loader, fp_run_inside(run, path), &closure, why);

	if (error)
		return error;
	telling.closure = closure;
	if (closure->members[0].object->has_audit)
		error = fp_why_set(why, FP_REASON_AUDITED, closure->members[0].object->path, "%s",
				   "");
	else
		error = fp_binder_new(closure, &binder, why);
	if (!error) {
		error = fp_bind_closure(closure, binder, tell, &telling);
		if (error && !telling.stopped)
			fp_why_system(why, -error, path, "bind");
		fp_binder_free(binder);
	}
	fp_closure_free(closure);
	return error;
}
