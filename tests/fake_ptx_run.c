/*
 * fake_ptx_run: runs a kernel that was read, see fake_ptx.h. A block's threads take turns: one runs
 * until it ends or waits at a barrier, then the next one does, and when nobody can go on, those go
 * on whose barrier is complete.
 *
 * PTX waits at `bar.sync` for the threads that have not ended. Here it is an error when some have
 * ended and others wait: our kernels never do that on purpose, so one that does has miscounted its
 * barriers. And as `bar.sync` is for a whole warp, all threads of one wait at the same instruction.
 */
#include "fake_ptx_code.h"

#include <stdlib.h>
#include <string.h>

#define STEPS (UINT64_C(1) << 24) /* of one turn: more is an endless loop */

#define MOST_THREADS 1024 /* of a block, as on any card */

enum state { READY, AT_BLOCK, AT_WARP, ENDED };

struct thread {
  uint64_t value[PTX_REGISTERS];
  bool set[PTX_REGISTERS];
  unsigned next; /* instruction; while it waits, the one behind the barrier */
  enum state state;
};

/* Who has put a byte into shared memory, and after how many barriers of the block and of his warp.
 */
struct mark {
  uint32_t thread; /* + 1; 0: nobody */
  unsigned block, warp;
};

struct run {
  struct ptx_module *module;
  const struct ptx_grid *grid;
  struct thread *threads;
  uint32_t block;
  uint64_t stores; /* to global memory, in all */
  uint8_t parameters[PTX_ARGUMENTS * 8], shared[PTX_SHARED];
  struct mark marks[PTX_SHARED];
  struct mark now[MOST_THREADS / PTX_WARP]; /* of each warp: its barriers up to here */
};

/* A thread's turn. */
struct turn {
  struct run *run;
  struct thread *thread;
  const struct ptx_op *op;
  uint32_t tid;
};

#define FAIL(turn, ...) ptx_fail((turn)->run->module, (turn)->op->line, __VA_ARGS__)

static bool failed(const struct run *run) { return *run->module->error; }

static uint64_t get_register(const struct turn *turn, int reg) {
  if (!turn->thread->set[reg])
    FAIL(turn, "thread %u reads a register that nothing has been put into", turn->tid);
  return turn->thread->value[reg];
}

static void put(const struct turn *turn, int reg, uint64_t value) {
  turn->thread->value[reg] = value & ptx_mask(turn->run->module->bits[reg]);
  turn->thread->set[reg] = true;
}

static uint64_t get_special(const struct turn *turn, uint64_t which) {
  switch ((enum ptx_special)which) {
  case PTX_TID:
    return turn->tid;
  case PTX_NTID:
    return turn->run->grid->threads;
  case PTX_CTAID:
    return turn->run->block;
  default:
    return turn->run->grid->blocks;
  }
}

static uint64_t get(const struct turn *turn, const struct ptx_operand *operand) {
  if (operand->kind == PTX_REGISTER)
    return get_register(turn, operand->reg[0]);
  return operand->kind == PTX_SPECIAL ? get_special(turn, operand->value) : operand->value;
}

/* Two or three sources, all of `bits`, unsigned; what is put away is cut to its size there. */
static uint64_t compute(const struct ptx_op *op, uint64_t a, uint64_t b, uint64_t c) {
  unsigned bits = op->field[PTX_TYPE];
  switch (op->form->op) {
  case PTX_ADD:
    return a + b;
  case PTX_SUB:
    return a - b;
  case PTX_MIN:
    return a < b ? a : b;
  case PTX_AND:
    return a & b;
  case PTX_OR:
    return a | b;
  case PTX_XOR:
    return a ^ b;
  case PTX_SHL:
    return b >= bits ? 0 : a << b;
  case PTX_SHR:
    return b >= bits ? 0 : a >> b;
  case PTX_MUL_LO:
    return a * b;
  case PTX_MUL_HI:
    return (uint64_t)(((unsigned __int128)a * b) >> bits);
  case PTX_MUL_WIDE:
    return a * b;
  case PTX_MAD_WIDE:
    return a * b + c;
  case PTX_EQ:
    return a == b;
  case PTX_NE:
    return a != b;
  case PTX_LT:
    return a < b;
  case PTX_LE:
    return a <= b;
  case PTX_GT:
    return a > b;
  default:
    return a >= b;
  }
}

static void run_compute(const struct turn *turn) {
  const struct ptx_op *op = turn->op;
  uint64_t mask = ptx_mask(op->field[PTX_TYPE]);
  uint64_t a = get(turn, &op->operand[1]) & mask, b = get(turn, &op->operand[2]) & mask;
  uint64_t c = op->form->operands == 4 ? get(turn, &op->operand[3]) : 0;
  put(turn, op->operand[0].reg[0], compute(op, a, b, c));
}

/* Of one register into another, of several into one, the lowest first, or of one into several. */
static void run_mov(const struct turn *turn) {
  const struct ptx_operand *to = &turn->op->operand[0], *from = &turn->op->operand[1];
  unsigned bits = turn->op->field[PTX_TYPE];
  uint64_t value = 0;
  if (from->count <= 1)
    value = get(turn, from);
  for (unsigned i = 0; from->count > 1 && i < from->count; i++)
    value |= get_register(turn, from->reg[i]) << (i * (bits / from->count));
  for (unsigned i = 0; i < to->count; i++)
    put(turn, to->reg[i], value >> (i * (bits / to->count)));
}

static bool may_touch(const struct ptx_grid *grid, uint64_t at, unsigned bytes, bool store) {
  for (unsigned i = 0; i < grid->count; i++) {
    const struct ptx_range *range = &grid->ranges[i];
    if (at >= range->start && at <= range->end && bytes <= range->end - at &&
        (range->stores || !store))
      return true;
  }
  return false;
}

/* What another thread has put there is seen behind a barrier that both were at. */
static void check_mark(const struct turn *turn, const struct mark *mark) {
  const struct mark *now = &turn->run->now[turn->tid / PTX_WARP];
  uint32_t writer = mark->thread - 1;
  if (!mark->thread)
    FAIL(turn, "thread %u reads shared memory that nothing has been put into", turn->tid);
  else if (writer != turn->tid && mark->block == now->block &&
           (writer / PTX_WARP != turn->tid / PTX_WARP || mark->warp == now->warp))
    FAIL(turn, "thread %u reads what thread %u has put there, with no barrier between", turn->tid,
         writer);
}

static uint8_t *in_shared(const struct turn *turn, uint64_t at, unsigned bytes, bool store) {
  struct run *run = turn->run;
  if (at > run->module->shared_bytes || bytes > run->module->shared_bytes - at)
    return NULL;
  for (unsigned i = 0; i < bytes; i++) {
    if (!store)
      check_mark(turn, &run->marks[at + i]);
    else {
      run->marks[at + i] = run->now[turn->tid / PTX_WARP];
      run->marks[at + i].thread = turn->tid + 1;
    }
  }
  return run->shared + at;
}

static uint8_t *in_space(const struct turn *turn, uint64_t at, unsigned bytes, bool store) {
  struct run *run = turn->run;
  switch ((enum ptx_space)turn->op->field[PTX_SPACE]) {
  case PTX_GLOBAL:
    return may_touch(run->grid, at, bytes, store) ? (uint8_t *)(uintptr_t)at : NULL;
  case PTX_SPACE_SHARED:
    return in_shared(turn, at, bytes, store);
  case PTX_SPACE_CONST:
    return !store && at <= PTX_CONSTANTS && bytes <= PTX_CONSTANTS - at
               ? run->module->constants + at
               : NULL;
  default:
    return !store && at + bytes <= run->module->param_bytes ? run->parameters + at : NULL;
  }
}

/* Where the words are that ld or st is about; NULL: an error. */
static uint8_t *locate(const struct turn *turn, const struct ptx_operand *operand, bool store) {
  const struct ptx_op *op = turn->op;
  unsigned count = op->field[PTX_VECTOR] ? op->field[PTX_VECTOR] : 1;
  unsigned bytes = op->field[PTX_TYPE] / 8 * count;
  uint64_t at = operand->value;
  if (operand->reg[0] >= 0)
    at += get_register(turn, operand->reg[0]);
  if (failed(turn->run))
    return NULL;
  if (at % bytes) {
    FAIL(turn, "thread %u: %u bytes at %#llx are not aligned", turn->tid, bytes,
         (unsigned long long)at);
    return NULL;
  }
  uint8_t *where = in_space(turn, at, bytes, store);
  if (!where)
    FAIL(turn, "thread %u has no business at %#llx, %u bytes", turn->tid, (unsigned long long)at,
         bytes);
  return failed(turn->run) ? NULL : where;
}

static void run_ld(const struct turn *turn) {
  const struct ptx_operand *to = &turn->op->operand[0];
  unsigned bytes = turn->op->field[PTX_TYPE] / 8;
  const uint8_t *from = locate(turn, &turn->op->operand[1], false);
  for (unsigned i = 0; from && i < to->count; i++) {
    uint64_t value = 0;
    memcpy(&value, from + i * bytes, bytes);
    put(turn, to->reg[i], value);
  }
}

static void run_st(const struct turn *turn) {
  const struct ptx_operand *from = &turn->op->operand[1];
  unsigned bytes = turn->op->field[PTX_TYPE] / 8;
  uint8_t *to = locate(turn, &turn->op->operand[0], true);
  bool global = turn->op->field[PTX_SPACE] == PTX_GLOBAL;
  if (!to || (global && ++turn->run->stores == turn->run->grid->lost))
    return;
  for (unsigned i = 0; i < (from->count ? from->count : 1); i++) {
    uint64_t value = from->count ? get_register(turn, from->reg[i]) : get(turn, from);
    memcpy(to + i * bytes, &value, bytes);
  }
}

static void step(const struct turn *turn) {
  struct thread *thread = turn->thread;
  const struct ptx_op *op = turn->op;
  thread->next++;
  if (op->guard >= 0 && (get_register(turn, op->guard) == 1) == op->unless)
    return;
  switch (op->form->op) {
  case PTX_CVT:
    put(turn, op->operand[0].reg[0], get(turn, &op->operand[1]) & ptx_mask(op->field[PTX_FROM]));
    break;
  case PTX_MOV:
    run_mov(turn);
    break;
  case PTX_LD:
    run_ld(turn);
    break;
  case PTX_ST:
    run_st(turn);
    break;
  case PTX_BRA:
    thread->next = (unsigned)turn->run->module->symbols[op->operand[0].value].value;
    break;
  case PTX_BAR:
    thread->state = AT_BLOCK;
    break;
  case PTX_BAR_WARP:
    thread->state = AT_WARP;
    break;
  case PTX_MEMBAR: /* each thread's stores are seen at once */
    break;
  case PTX_RET:
    thread->state = ENDED;
    break;
  default:
    run_compute(turn);
  }
}

static void take_turn(struct run *run, uint32_t tid) {
  struct turn turn = {.run = run, .thread = &run->threads[tid], .tid = tid};
  for (uint64_t steps = 0; turn.thread->state == READY && !failed(run); steps++) {
    turn.op = &run->module->ops[turn.thread->next];
    if (turn.thread->next >= run->module->op_count)
      ptx_fail(run->module, turn.op[-1].line, "thread %u runs over the end", tid);
    else if (steps == STEPS)
      FAIL(&turn, "thread %u runs in a circle", tid);
    else
      step(&turn);
  }
}

/* Whether all threads from `first` up to `end` are in this state, and at the same instruction. */
static bool all_are(const struct run *run, uint32_t first, uint32_t end, enum state state) {
  for (uint32_t i = first; i < end; i++)
    if (run->threads[i].state != state || run->threads[i].next != run->threads[first].next)
      return false;
  return true;
}

static void let_go(struct run *run, uint32_t first, uint32_t end) {
  for (uint32_t i = first; i < end; i++)
    run->threads[i].state = READY;
}

/* Lets those go on whose barrier is complete; false: there are none. */
static bool release(struct run *run) {
  uint32_t threads = run->grid->threads, at_block = 0;
  bool any = false;
  for (uint32_t first = 0; first < threads; first += PTX_WARP) {
    uint32_t end = first + PTX_WARP < threads ? first + PTX_WARP : threads;
    if (end - first == PTX_WARP && all_are(run, first, end, AT_WARP)) {
      let_go(run, first, end);
      run->now[first / PTX_WARP].warp++;
      any = true;
    }
    at_block += all_are(run, first, end, AT_BLOCK) ? end - first : 0;
  }
  if (at_block != threads)
    return any;
  let_go(run, 0, threads);
  for (uint32_t i = 0; i < MOST_THREADS / PTX_WARP; i++)
    run->now[i].block++;
  return true;
}

/* Nobody can go on: all have ended, or it is an error. */
static void judge(const struct run *run) {
  uint32_t ended = 0, waits = 0;
  for (uint32_t i = 0; i < run->grid->threads; i++) {
    if (run->threads[i].state == ENDED)
      ended++;
    else
      waits = i;
  }
  if (ended < run->grid->threads)
    ptx_fail(run->module, run->module->ops[run->threads[waits].next - 1].line,
             "thread %u waits at a barrier that not all reach; %u have ended", waits, ended);
}

static void run_block(struct run *run) {
  uint32_t threads = run->grid->threads;
  memset(run->threads, 0, threads * sizeof *run->threads);
  memset(run->marks, 0, run->module->shared_bytes * sizeof *run->marks);
  do {
    for (uint32_t i = 0; i < threads && !failed(run); i++)
      take_turn(run, run->grid->backwards ? threads - 1 - i : i);
  } while (!failed(run) && release(run));
  if (!failed(run))
    judge(run);
}

/* The arguments as the kernel's parameters lie: each at a multiple of its size. */
static void put_parameters(struct run *run) {
  uint64_t at = 0;
  for (unsigned i = 0; i < run->module->param_count; i++) {
    unsigned bytes = run->module->param_bits[i] / 8U;
    at = (at + bytes - 1) / bytes * bytes;
    memcpy(run->parameters + at, &run->grid->arguments[i], bytes);
    at += bytes;
  }
}

bool ptx_run(struct ptx_module *module, const struct ptx_grid *grid) {
  if (grid->threads > MOST_THREADS)
    ptx_fail(module, 0, "more than %d threads in a block", MOST_THREADS);
  if (*module->error)
    return false;
  struct run *run = calloc(1, sizeof *run);
  struct thread *threads = calloc(grid->threads, sizeof *threads);
  if (!run || !threads)
    abort();
  run->module = module;
  run->grid = grid;
  run->threads = threads;
  put_parameters(run);
  for (; run->block < grid->blocks && !failed(run); run->block++)
    run_block(run);
  free(threads);
  free(run);
  return !*module->error;
}
