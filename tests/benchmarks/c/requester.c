/* The C contestant's requester: confirmed, mandatory, persistent publishes and direct replies. requester TASK
 * Its questions and answers are those of tests/benchmarks/requester.py; "paced" it does not understand. */

#include <time.h>

#include "common.h"

enum { TEXT = 150, HEAD = 8, SIZE = HEAD + TEXT, MOST_UNCONFIRMED = 1 << 20 };

static amqp_connection_state_t broker;
static const char *task;
static char body[SIZE];
static unsigned long long number, lowest = 1;
static char is_unconfirmed[MOST_UNCONFIRMED];
static int unconfirmed, replied;

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec / 1e9;
}

static void publish(int is_answered) {
    char id[33];
    snprintf(id, sizeof id, "%032llx", ++number);
    amqp_basic_properties_t properties;
    memset(&properties, 0, sizeof properties);
    properties._flags = AMQP_BASIC_DELIVERY_MODE_FLAG | AMQP_BASIC_MESSAGE_ID_FLAG | AMQP_BASIC_TYPE_FLAG |
                        AMQP_BASIC_CORRELATION_ID_FLAG | AMQP_BASIC_CONTENT_TYPE_FLAG;
    properties.delivery_mode = 2;
    properties.message_id = properties.correlation_id = amqp_cstring_bytes(id);
    properties.type = amqp_cstring_bytes(task);
    properties.content_type = amqp_cstring_bytes("application/msgpack");
    if (is_answered) {
        properties._flags |= AMQP_BASIC_REPLY_TO_FLAG;
        properties.reply_to = amqp_cstring_bytes("amq.rabbitmq.reply-to");
    }
    amqp_bytes_t bytes = {SIZE, body};
    if (amqp_basic_publish(broker, 1, amqp_cstring_bytes("tasks"), amqp_cstring_bytes(task), 1, 0, &properties, bytes))
        fail("basic.publish");
    is_unconfirmed[number % MOST_UNCONFIRMED] = 1;
    if (++unconfirmed == MOST_UNCONFIRMED) fail("the broker confirms nothing");
}

static void confirm(unsigned long long tag) {
    unconfirmed -= is_unconfirmed[tag % MOST_UNCONFIRMED];
    is_unconfirmed[tag % MOST_UNCONFIRMED] = 0;
}

static void take(void) {
    amqp_frame_t frame = next_frame(broker);
    if (frame.frame_type != AMQP_FRAME_METHOD) return;
    if (frame.payload.method.id == AMQP_BASIC_DELIVER_METHOD) {
        content(broker);
        replied++;
    } else if (frame.payload.method.id == AMQP_BASIC_ACK_METHOD) {
        amqp_basic_ack_t *ack = frame.payload.method.decoded;
        if (!ack->multiple) confirm(ack->delivery_tag);
        while (ack->multiple && lowest <= ack->delivery_tag) confirm(lowest++);
    } else {
        fail("a message was returned or refused");
    }
}

/* Seconds until all have replied, or, if nobody is to reply, are confirmed. */
static double many(int tasks, int window, int is_answered) {
    double start = now();
    int sent = 0, done = 0;
    replied = 0;
    while (done < tasks) {
        for (; sent < tasks && sent - done < window; sent++) publish(is_answered);
        take();
        done = is_answered ? replied : sent - unconfirmed;
    }
    double seconds = now() - start;
    while (unconfirmed) take();
    return seconds;
}

int main(int argc, char **argv) {
    if (argc != 2) fail("requester TASK");
    task = argv[1];
    /* {"data": "xxx…"} in msgpack. */
    memcpy(body, "\x81\xa4" "data\xd9\x96", HEAD);
    memset(body + HEAD, 'x', TEXT);
    broker = connected();
    amqp_confirm_select(broker, 1);
    check(amqp_get_rpc_reply(broker), "confirm.select");
    amqp_basic_consume(broker, 1, amqp_cstring_bytes("amq.rabbitmq.reply-to"), amqp_empty_bytes, 0, 1, 0,
                       amqp_empty_table);
    check(amqp_get_rpc_reply(broker), "basic.consume");
    puts("ready");
    fflush(stdout);
    char line[256];
    while (fgets(line, sizeof line, stdin)) {
        int tasks = 0, window = 1;
        char *at = strstr(line, "\"tasks\": ");
        if (at) tasks = atoi(at + 9);
        if ((at = strstr(line, "\"window\": "))) window = atoi(at + 10);
        printf("answer [");
        if (strstr(line, "\"calls\"")) {
            for (int call = 0; call < tasks; call++) printf("%s%.9f", call ? ", " : "", many(1, 1, 1));
        } else {
            printf("%.9f", many(tasks, window, strstr(line, "\"many\"") != NULL));
        }
        puts("]");
        fflush(stdout);
    }
    return 0;
}
