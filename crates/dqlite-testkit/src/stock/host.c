/* A node of the engine as packaged: no function in front of it, no gateway, its own listener.
 *
 * usage: stock-host LIBRARY ID ADDRESS DIRECTORY LATENCY_MS BUSY_TIMEOUT_MS THRESHOLD TRAILING
 *
 * Settings of 0 are left to the engine. Says "ready" once it serves; "stop" on stdin stops and
 * frees the node, whose result is printed; the end of stdin ends the process at once.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long long id_t64;
typedef int (*create_fn)(id_t64, const char *, const char *, void **);
typedef int (*text_fn)(void *, const char *);
typedef int (*number_fn)(void *, unsigned);
typedef int (*numbers_fn)(void *, unsigned, unsigned);
typedef int (*plain_fn)(void *);
typedef const char *(*words_fn)(void *);

static void *engine;

static void *find(const char *name) {
    void *function = dlsym(engine, name);
    if (function == NULL) {
        fprintf(stderr, "stock-host: the engine has no %s\n", name);
        _exit(2);
    }
    return function;
}

static void check(const char *step, int code, void *node) {
    if (code == 0) {
        return;
    }
    const char *words = node == NULL ? "" : ((words_fn)find("dqlite_node_errmsg"))(node);
    printf("failed %s %d %s\n", step, code, words);
    fflush(stdout);
    _exit(1);
}

/* On a thread of its own, as a stop may never return: the end of stdin still ends the process. */
static void *stop(void *node) {
    int code = ((plain_fn)find("dqlite_node_stop"))(node);
    ((void (*)(void *))find("dqlite_node_destroy"))(node);
    printf("stopped %d\n", code);
    fflush(stdout);
    _exit(code);
}

int main(int count, char **values) {
    if (count != 9) {
        fprintf(stderr, "stock-host: eight arguments wanted\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    engine = dlopen(values[1], RTLD_NOW | RTLD_LOCAL);
    if (engine == NULL) {
        fprintf(stderr, "stock-host: %s\n", dlerror());
        return 2;
    }
    unsigned latency = (unsigned)strtoul(values[5], NULL, 10);
    unsigned busy = (unsigned)strtoul(values[6], NULL, 10);
    unsigned threshold = (unsigned)strtoul(values[7], NULL, 10);
    unsigned trailing = (unsigned)strtoul(values[8], NULL, 10);
    void *node = NULL;
    create_fn create = (create_fn)find("dqlite_node_create");
    check("create", create(strtoull(values[2], NULL, 10), values[3], values[4], &node), node);
    check("bind", ((text_fn)find("dqlite_node_set_bind_address"))(node, values[3]), node);
    if (latency != 0) {
        number_fn set = (number_fn)find("dqlite_node_set_network_latency_ms");
        check("latency", set(node, latency), node);
    }
    if (busy != 0) {
        check("busy timeout", ((number_fn)find("dqlite_node_set_busy_timeout"))(node, busy), node);
    }
    if (threshold != 0) {
        numbers_fn set = (numbers_fn)find("dqlite_node_set_snapshot_params");
        check("snapshots", set(node, threshold, trailing), node);
    }
    check("start", ((plain_fn)find("dqlite_node_start"))(node), node);
    puts("ready");
    fflush(stdout);
    char line[16];
    while (fgets(line, sizeof line, stdin) != NULL) {
        pthread_t stopper;
        if (strcmp(line, "stop\n") == 0 && pthread_create(&stopper, NULL, stop, node) != 0) {
            return 2;
        }
    }
    _exit(0);
}
