/* The C contestant's worker: consume, reply, ack each. worker QUEUE PREFETCH */

#include "common.h"

int main(int argc, char **argv) {
    if (argc != 3) fail("worker QUEUE PREFETCH");
    amqp_connection_state_t link = connected();
    amqp_basic_qos(link, 1, 0, (uint16_t)atoi(argv[2]), 0);
    check(amqp_get_rpc_reply(link), "basic.qos");
    amqp_basic_consume(link, 1, amqp_cstring_bytes(argv[1]), amqp_empty_bytes, 0, 0, 0, amqp_empty_table);
    check(amqp_get_rpc_reply(link), "basic.consume");
    puts("ready");
    fflush(stdout);
    for (;;) {
        amqp_frame_t frame = next_frame(link);
        if (frame.frame_type != AMQP_FRAME_METHOD) continue;
        if (frame.payload.method.id != AMQP_BASIC_DELIVER_METHOD) fail("an unexpected method");
        uint64_t tag = ((amqp_basic_deliver_t *)frame.payload.method.decoded)->delivery_tag;
        amqp_basic_properties_t *task = content(link);
        if (task->_flags & AMQP_BASIC_REPLY_TO_FLAG) {
            amqp_basic_properties_t reply;
            memset(&reply, 0, sizeof reply);
            reply._flags = AMQP_BASIC_CORRELATION_ID_FLAG | AMQP_BASIC_DELIVERY_MODE_FLAG;
            reply.correlation_id = task->correlation_id;
            reply.delivery_mode = 2;
            if (amqp_basic_publish(link, 1, amqp_empty_bytes, task->reply_to, 0, 0, &reply, amqp_cstring_bytes("\xc0")))
                fail("basic.publish");
        }
        if (amqp_basic_ack(link, 1, tag, 0)) fail("basic.ack");
    }
}
