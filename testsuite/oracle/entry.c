/* entry.c - runs a program under ptrace and saves what ld.so made of it, before and after constructors.

   usage: entry [OPTION...] OUTPUT PROGRAM [ARGUMENT...]
     --chroot DIR       run it in DIR
     --env NAME=VALUE   in its environment (which is otherwise empty)
     --no-randomize     switch address randomisation off
     --corrupt OBJECT:OFFSET  add 8 to that word of the process, to see whether the comparison notices
     --addresses        write only "NAME ADDRESS" of each object to OUTPUT, once all are relocated

   Writes OUTPUT.relocated at the moment ld.so reports a consistent link map: everything is relocated and RELRO
   applied, no constructor has run; and OUTPUT.entry at AT_ENTRY.  Relocation tables are taken from the files. */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <error.h>
#include <fcntl.h>
#include <getopt.h>
#include <link.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "snapshot.h"

enum { PAGE = 4096, MAX_OBJECTS = 4096 };

static pid_t child;
static uint64_t initial_stack_pointer;

struct file {
	const unsigned char *bytes;
	size_t size;
	const Elf64_Ehdr *header;
	const Elf64_Phdr *program_headers;
};

static void peek(uint64_t address, void *to, size_t size)
{
	struct iovec local = { to, size }, remote = { (void *)address, size };
	if (process_vm_readv(child, &local, 1, &remote, 1, 0) != (ssize_t)size)
		error(2, errno, "cannot read %zu bytes at %#lx", size, address);
}

static uint64_t peek_word(uint64_t address)
{
	uint64_t word;
	peek(address, &word, sizeof(word));
	return word;
}

static uint64_t auxiliary(uint64_t type)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/auxv", child);
	FILE *stream = fopen(path, "r");
	Elf64_auxv_t entry;
	uint64_t value = 0;
	while (stream && fread(&entry, sizeof(entry), 1, stream) == 1)
		if (entry.a_type == type)
			value = entry.a_un.a_val;
	if (stream)
		fclose(stream);
	return value;
}

static bool file_map(int fd, struct file *file)
{
	struct stat status;
	if (fd < 0 || fstat(fd, &status) < 0)
		return false;
	file->size = (size_t)status.st_size;
	file->bytes = mmap(NULL, file->size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (file->bytes == MAP_FAILED)
		return false;
	file->header = (const void *)file->bytes;
	file->program_headers = (const void *)(file->bytes + file->header->e_phoff);
	return true;
}

/* The file that the child knows as PATH: absolute links are relative to its root. */
static bool file_open(const char *path, struct file *file)
{
	struct open_how how = { .flags = O_RDONLY | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT };
	char directory[64];
	snprintf(directory, sizeof(directory), "/proc/%d/%s", child,
		 path[0] == '/' ? "root" : "cwd");
	int from = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (from < 0)
		return false;
	int fd = -1;
	if (path[0] != '/')
		fd = openat(from, path, O_RDONLY | O_CLOEXEC);
	else
		do /* the kernel gives up when anything is renamed meanwhile: openat2(2) */
			fd = (int)syscall(SYS_openat2, from, path, &how, sizeof(how));
		while (fd < 0 && errno == EAGAIN);
	close(from);
	return file_map(fd, file);
}

static bool program_open(struct file *file)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/exe", child);
	return file_map(open(path, O_RDONLY | O_CLOEXEC), file);
}

/* The bytes of FILE that are loaded at the link-time address ADDRESS, or null. */
static const void *file_at(const struct file *file, uint64_t address, uint64_t size)
{
	for (int i = 0; i < file->header->e_phnum; i++) {
		const Elf64_Phdr *segment = &file->program_headers[i];
		if (segment->p_type == PT_LOAD && address >= segment->p_vaddr &&
		    address + size <= segment->p_vaddr + segment->p_filesz &&
		    segment->p_offset + (address - segment->p_vaddr) + size <= file->size)
			return file->bytes + segment->p_offset + (address - segment->p_vaddr);
	}
	return NULL;
}

struct tables {
	uint64_t tag[DT_NUM];
	const Elf64_Sym *symbols;
	const char *strings;
	bool text_relocations; /* DT_TEXTREL has no value */
};

static const Elf64_Phdr *file_segment(const struct file *file, uint32_t type)
{
	for (int i = 0; i < file->header->e_phnum; i++)
		if (file->program_headers[i].p_type == type)
			return &file->program_headers[i];
	return NULL;
}

static void tables_read(const struct file *file, struct tables *tables)
{
	memset(tables, 0, sizeof(*tables));
	const Elf64_Phdr *segment = file_segment(file, PT_DYNAMIC);
	if (segment == NULL)
		return;
	const Elf64_Dyn *dynamic = (const void *)(file->bytes + segment->p_offset);
	for (uint64_t i = 0; i < segment->p_filesz / sizeof(*dynamic); i++) {
		if (dynamic[i].d_tag == DT_NULL)
			break;
		if (dynamic[i].d_tag >= 0 && dynamic[i].d_tag < DT_NUM)
			tables->tag[dynamic[i].d_tag] = dynamic[i].d_un.d_val;
		tables->text_relocations |= dynamic[i].d_tag == DT_TEXTREL;
	}
	tables->text_relocations |= (tables->tag[DT_FLAGS] & DF_TEXTREL) != 0;
	tables->strings = file_at(file, tables->tag[DT_STRTAB], tables->tag[DT_STRSZ]);
	tables->symbols = file_at(file, tables->tag[DT_SYMTAB], sizeof(Elf64_Sym));
}

struct slots {
	struct slot_record *rows;
	uint32_t count, capacity;
};

static void slot_add(struct slots *slots, uint64_t offset, uint32_t size, uint32_t type,
		     uint32_t name)
{
	if (slots->count == slots->capacity) {
		slots->capacity = slots->capacity ? 2 * slots->capacity : 1024;
		slots->rows = realloc(slots->rows, slots->capacity * sizeof(*slots->rows));
	}
	slots->rows[slots->count++] = (struct slot_record){ offset, size, type, name };
}

static uint32_t type_size(uint32_t type, const Elf64_Sym *symbol)
{
	switch (type) {
	case R_X86_64_NONE:
		return 0;
	case R_X86_64_PC32:
	case R_X86_64_32:
	case R_X86_64_32S:
	case R_X86_64_SIZE32:
		return 4;
	case R_X86_64_COPY:
		return (uint32_t)symbol->st_size;
	case R_X86_64_TLSDESC:
		return 16;
	default:
		return 8;
	}
}

static void slots_from_rela(const struct file *file, const struct tables *tables, uint64_t address,
			    uint64_t size, uint64_t low, struct slots *slots)
{
	const Elf64_Rela *rows = size ? file_at(file, address, size) : NULL;
	static const Elf64_Sym none;
	for (uint64_t i = 0; rows && i < size / sizeof(*rows); i++) {
		uint32_t type = (uint32_t)ELF64_R_TYPE(rows[i].r_info);
		uint64_t index = ELF64_R_SYM(rows[i].r_info);
		const Elf64_Sym *symbol = index ? &tables->symbols[index] : &none;
		uint32_t bytes = type_size(type, symbol);
		if (bytes)
			slot_add(slots, rows[i].r_offset - low, bytes, type, symbol->st_name);
	}
}

static void slots_from_relr(const struct file *file, const struct tables *tables, uint64_t low,
			    struct slots *slots)
{
	uint64_t size = tables->tag[DT_RELRSZ];
	const uint64_t *rows = size ? file_at(file, tables->tag[DT_RELR], size) : NULL;
	uint64_t where = 0;
	for (uint64_t i = 0; rows && i < size / sizeof(*rows); i++) {
		if ((rows[i] & 1) == 0) {
			slot_add(slots, rows[i] - low, 8, R_X86_64_RELATIVE, 0);
			where = rows[i] + 8;
			continue;
		}
		for (unsigned bit = 1; bit < 64; bit++)
			if (rows[i] >> bit & 1)
				slot_add(slots, where + 8 * (bit - 1) - low, 8, R_X86_64_RELATIVE,
					 0);
		where += 8 * 63;
	}
}

static void slots_read(const struct file *file, const struct tables *tables, uint64_t low,
		       struct slots *slots)
{
	if (tables->symbols == NULL || tables->strings == NULL)
		return;
	slots_from_relr(file, tables, low, slots);
	slots_from_rela(file, tables, tables->tag[DT_RELA], tables->tag[DT_RELASZ], low, slots);
	slots_from_rela(file, tables, tables->tag[DT_JMPREL], tables->tag[DT_PLTRELSZ], low, slots);
	if (tables->tag[DT_PLTGOT] && tables->tag[DT_PLTRELSZ])
		for (uint64_t i = 0; i < 3; i++)
			slot_add(slots, tables->tag[DT_PLTGOT] + 8 * i - low, 8, SLOT_GOT, 0);
}

static void save(FILE *output, const void *bytes, size_t size)
{
	if (size && fwrite(bytes, size, 1, output) != 1)
		error(2, errno, "cannot write the snapshot");
}

static void segments_save(FILE *output, const struct file *file, uint64_t bias, uint64_t origin,
			  bool everything)
{
	for (int i = 0; i < file->header->e_phnum; i++) {
		const Elf64_Phdr *segment = &file->program_headers[i];
		if (segment->p_type != PT_LOAD)
			continue;
		uint64_t address = bias + segment->p_vaddr;
		struct segment_record record = { address - origin, segment->p_memsz,
						 segment->p_flags,
						 everything || (segment->p_flags & PF_W) };
		save(output, &record, sizeof(record));
		if (!record.saved)
			continue;
		void *bytes = malloc(record.size + 1);
		peek(address, bytes, record.size);
		save(output, bytes, record.size);
		free(bytes);
	}
}

static void name_read(uint64_t map, char name[4096])
{
	uint64_t text = peek_word(map + offsetof(struct link_map, l_name));
	memset(name, 0, 4096);
	for (size_t i = 0; i + 1 < 4096; i++) {
		peek(text + i, &name[i], 1);
		if (name[i] == '\0')
			break;
	}
}

/* Saves the object of the link map at ADDRESS; INDEX 0 is the program. */
static void object_save(FILE *output, uint64_t address, int index, uint64_t vdso)
{
	struct link_map map;
	char name[4096];
	peek(address, &map, sizeof(map));
	name_read(address, name);
	struct object_record record = { .link_map = address, .name_size = (uint32_t)strlen(name) };
	struct file file;
	if ((vdso && map.l_addr == vdso) ||
	    !(index == 0 ? program_open(&file) : file_open(name, &file))) {
		if (vdso == 0 || map.l_addr != vdso)
			error(2, errno, "cannot open %s", index ? name : "the program");
		record.origin = record.first = map.l_addr;
		record.end = map.l_addr + 2 * PAGE;
		save(output, &record, sizeof(record));
		save(output, name, record.name_size);
		return;
	}
	uint64_t low = UINT64_MAX, high = 0;
	for (int i = 0; i < file.header->e_phnum; i++) {
		const Elf64_Phdr *segment = &file.program_headers[i];
		if (segment->p_type != PT_LOAD)
			continue;
		record.segment_count++;
		if (segment->p_vaddr < low)
			low = segment->p_vaddr;
		if (segment->p_vaddr + segment->p_memsz > high)
			high = segment->p_vaddr + segment->p_memsz;
	}
	record.first = (map.l_addr + low) & -(uint64_t)PAGE;
	record.end = (map.l_addr + high + PAGE - 1) & -(uint64_t)PAGE;
	uint64_t zero = index == 0 ? 0 : low;
	record.origin = map.l_addr + zero;
	record.linked = zero;
	const Elf64_Phdr *segment = file_segment(&file, PT_DYNAMIC);
	if (segment) {
		record.dynamic = segment->p_vaddr - zero;
		record.dynamic_size = segment->p_memsz;
	}
	segment = file_segment(&file, PT_GNU_RELRO);
	if (segment) {
		record.relro = segment->p_vaddr - zero;
		record.relro_size = segment->p_memsz;
	}
	struct tables tables;
	struct slots slots = { 0 };
	tables_read(&file, &tables);
	slots_read(&file, &tables, zero, &slots);
	record.slot_count = slots.count;
	record.string_size = tables.strings ? (uint32_t)tables.tag[DT_STRSZ] : 0;
	save(output, &record, sizeof(record));
	save(output, name, record.name_size);
	save(output, tables.strings, record.string_size);
	segments_save(output, &file, map.l_addr, record.origin, tables.text_relocations);
	save(output, slots.rows, slots.count * sizeof(*slots.rows));
	free(slots.rows);
	munmap((void *)file.bytes, file.size);
}

static uint32_t maps_save(FILE *output)
{
	char path[64], line[8192], name[8192];
	uint32_t count = 0;
	snprintf(path, sizeof(path), "/proc/%d/maps", child);
	FILE *stream = fopen(path, "r");
	while (stream && fgets(line, sizeof(line), stream)) {
		struct map_record map = { 0 };
		name[0] = '\0';
		sscanf(line, "%lx-%lx %7s %lx %*s %*s %8191[^\n]", &map.start, &map.end,
		       map.permissions, &map.file_offset, name);
		map.name_size = (uint32_t)strlen(name);
		save(output, &map, sizeof(map));
		save(output, name, map.name_size);
		count++;
	}
	if (stream)
		fclose(stream);
	return count;
}

static void snapshot(const char *prefix, const char *stage, uint64_t debug)
{
	char path[4200];
	snprintf(path, sizeof(path), "%s.%s", prefix, stage);
	FILE *output = fopen(path, "w");
	if (output == NULL)
		error(2, errno, "%s", path);
	struct user_regs_struct registers;
	ptrace(PTRACE_GETREGS, child, NULL, &registers);
	struct snapshot_header header = { SNAPSHOT_MAGIC, initial_stack_pointer, registers.fs_base,
					  0, 0 };
	save(output, &header, sizeof(header));
	uint64_t vdso = auxiliary(AT_SYSINFO_EHDR);
	uint64_t map = peek_word(debug + offsetof(struct r_debug, r_map));
	for (; map && header.object_count < MAX_OBJECTS; header.object_count++) {
		object_save(output, map, (int)header.object_count, vdso);
		map = peek_word(map + offsetof(struct link_map, l_next));
	}
	header.map_count = maps_save(output);
	rewind(output);
	save(output, &header, sizeof(header));
	if (fclose(output) != 0)
		error(2, errno, "%s", path);
}

/* The run-time address of ld.so's dynamic symbol NAME. */
static uint64_t loader_symbol(const char *name, uint64_t base)
{
	struct file file;
	struct tables tables;
	if (!program_open(&file))
		error(2, errno, "cannot open the program");
	const char *interpreter =
		(const char *)file.bytes + file_segment(&file, PT_INTERP)->p_offset;
	if (!file_open(interpreter, &file))
		error(2, errno, "cannot open %s", interpreter);
	tables_read(&file, &tables);
	const uint32_t *hash = file_at(&file, tables.tag[DT_HASH], 8);
	uint64_t count = tables.tag[DT_HASH] ? hash[1]
					     : (tables.tag[DT_STRTAB] - tables.tag[DT_SYMTAB]) /
						       sizeof(Elf64_Sym);
	for (uint64_t i = 1; i < count; i++)
		if (strcmp(tables.strings + tables.symbols[i].st_name, name) == 0)
			return base + tables.symbols[i].st_value;
	error(2, 0, "ld.so has no symbol %s", name);
	return 0;
}

/* Continues until the next stop; ends the run when the program does.  Passed over are signals of job control, which the
   whole group of processes gets, and the end of a child that a constructor has started. */
static void resume(int request)
{
	int status;
	do
		if (ptrace(request, child, NULL, NULL) < 0 || waitpid(child, &status, 0) != child)
			error(2, errno, "ptrace");
	while (WIFSTOPPED(status) && (WSTOPSIG(status) == SIGCONT || WSTOPSIG(status) == SIGSTOP ||
				      WSTOPSIG(status) == SIGCHLD));
	if (WIFEXITED(status))
		error(2, 0, "the program exited with status %d before its entry point",
		      WEXITSTATUS(status));
	if (WIFSIGNALED(status) || WSTOPSIG(status) != SIGTRAP)
		error(2, 0, "the program got signal %d before its entry point",
		      WIFSIGNALED(status) ? WTERMSIG(status) : WSTOPSIG(status));
}

static long breakpoint_set(uint64_t address)
{
	errno = 0;
	long original = ptrace(PTRACE_PEEKTEXT, child, address, NULL);
	if (errno || ptrace(PTRACE_POKETEXT, child, address, (original & ~0xffL) | 0xcc) < 0)
		error(2, errno, "cannot set a breakpoint at %#lx", address);
	return original;
}

static void breakpoint_leave(uint64_t address, long original)
{
	struct user_regs_struct registers;
	ptrace(PTRACE_POKETEXT, child, address, original);
	ptrace(PTRACE_GETREGS, child, NULL, &registers);
	if (registers.rip != address + 1)
		error(2, 0, "stopped at %#llx instead of %#lx", registers.rip, address);
	registers.rip = address;
	ptrace(PTRACE_SETREGS, child, NULL, &registers);
}

static void addresses_write(const char *path, uint64_t debug)
{
	FILE *output = fopen(path, "w");
	char name[4096];
	if (output == NULL)
		error(2, errno, "%s", path);
	uint64_t map = peek_word(debug + offsetof(struct r_debug, r_map));
	for (; map; map = peek_word(map + offsetof(struct link_map, l_next))) {
		name_read(map, name);
		fprintf(output, "%s %#lx\n", name[0] ? name : "program",
			peek_word(map + offsetof(struct link_map, l_addr)));
	}
	fclose(output);
}

static void corrupt(const char *what, uint64_t debug)
{
	const char *colon = strrchr(what, ':');
	uint64_t offset = strtoull(colon + 1, NULL, 0);
	uint64_t map = peek_word(debug + offsetof(struct r_debug, r_map));
	for (; map; map = peek_word(map + offsetof(struct link_map, l_next))) {
		char name[4096];
		name_read(map, name);
		size_t size = (size_t)(colon - what), full = strlen(name);
		if (full < size || memcmp(name + full - size, what, size) != 0)
			continue;
		uint64_t address = peek_word(map + offsetof(struct link_map, l_addr)) + offset;
		ptrace(PTRACE_POKEDATA, child, address, peek_word(address) + 8);
		return;
	}
	error(2, 0, "no object for %s", what);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "chroot", required_argument, NULL, 'r' },
		{ "env", required_argument, NULL, 'e' },
		{ "no-randomize", no_argument, NULL, 'n' },
		{ "corrupt", required_argument, NULL, 'c' },
		{ "addresses", no_argument, NULL, 'a' },
		{ 0 },
	};
	const char *root = NULL, *wrong = NULL;
	char *environment[256] = { NULL };
	int variables = 0, randomize = 1, addresses = 0, option;
	while ((option = getopt_long(argc, argv, "+", options, NULL)) != -1) {
		if (option == 'r')
			root = optarg;
		else if (option == 'e' && variables < 255)
			environment[variables++] = optarg;
		else if (option == 'n')
			randomize = 0;
		else if (option == 'c')
			wrong = optarg;
		else if (option == 'a')
			addresses = 1;
		else
			return 2;
	}
	if (argc - optind < 2)
		error(2, 0, "usage: entry [OPTION...] OUTPUT PROGRAM [ARGUMENT...]");
	const char *output = argv[optind++];
	child = fork();
	if (child == 0) {
		if (root && (chroot(root) < 0 || chdir("/") < 0))
			error(126, errno, "%s", root);
		if (!randomize)
			personality(ADDR_NO_RANDOMIZE);
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		execve(argv[optind], &argv[optind], environment);
		error(127, errno, "%s", argv[optind]);
	}
	int status;
	waitpid(child, &status, 0);
	if (!WIFSTOPPED(status))
		error(2, 0, "cannot start %s", argv[optind]);
	ptrace(PTRACE_SETOPTIONS, child, NULL, PTRACE_O_EXITKILL);
	struct user_regs_struct registers;
	ptrace(PTRACE_GETREGS, child, NULL, &registers);
	initial_stack_pointer = registers.rsp;
	uint64_t base = auxiliary(AT_BASE), entry = auxiliary(AT_ENTRY);
	if (base == 0)
		error(2, 0, "%s has no program interpreter", argv[optind]);
	uint64_t debug = loader_symbol("_r_debug", base);
	uint64_t hook = loader_symbol("_dl_debug_state", base);
	for (;;) {
		long original = breakpoint_set(hook);
		resume(PTRACE_CONT);
		breakpoint_leave(hook, original);
		if (peek_word(debug + offsetof(struct r_debug, r_state)) << 32 == RT_CONSISTENT)
			break;
		resume(PTRACE_SINGLESTEP);
	}
	if (addresses) {
		addresses_write(output, debug);
		return 0;
	}
	if (wrong)
		corrupt(wrong, debug);
	snapshot(output, "relocated", debug);
	long original = breakpoint_set(entry);
	resume(PTRACE_CONT);
	breakpoint_leave(entry, original);
	snapshot(output, "entry", debug);
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	return 0;
}
