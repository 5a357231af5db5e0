/* Reading a mapped file past its end, which another process has moved, raises SIGBUS. While kernels read weights, a handler
   puts a page of zeros in the place of the missing one and notes it: the caller discards the results and reports the file.
   Any other SIGBUS goes to the handlers that ours has replaced. They may form a circle, when one has been installed over
   ours and ours over it again: so ours gives way to each once, and then to the default. */

static _Thread_local int guarded; /* true while this thread may read a mapped file */
static atomic_int torn;           /* pages of zeros since zg_torn */
static struct sigaction replaced[2]; /* the first handler that ours has replaced, and the last */
static int replaced_count;

static void on_bus_error(int number, siginfo_t *info, void *context) {
    (void)context;
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    void *at = (void *)((uintptr_t)info->si_addr / page * page);
    if (guarded && info->si_code == BUS_ADRERR &&
        mmap(at, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED) {
        atomic_fetch_add(&torn, 1);
        return;
    }
    const struct sigaction none = {.sa_handler = SIG_DFL};
    sigaction(SIGBUS, replaced_count ? &replaced[--replaced_count] : &none, NULL);
    if (info->si_code <= 0) raise(number); /* sent by a process; else the instruction runs again */
}

/* Installs the handler, again if another one has replaced it. */
void zg_guard(void) {
    struct sigaction now, ours = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    if (sigaction(SIGBUS, NULL, &now) || ((now.sa_flags & SA_SIGINFO) && now.sa_sigaction == on_bus_error)) return;
    replaced[replaced_count ? 1 : 0] = now;
    if (replaced_count < 2) replaced_count++;
    sigemptyset(&ours.sa_mask);
    sigaction(SIGBUS, &ours, NULL);
}

/* Pages that were missing since the last call. */
int zg_torn(void) { return atomic_exchange(&torn, 0); }
